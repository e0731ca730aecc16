"""A loss's page in a browser: its formula, what it leads to, and the table of all by keyboard."""

import pytest
from playwright.sync_api import expect

from tests.journeys import opened, rest, serious, state_of


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_formulas_are_mathml_on_a_phone_and_names_lead_on(page, url, theme):
    page.set_viewport_size({"width": 390, "height": 800})
    opened(page, url, "losses", about="unified", __theme=theme)
    formula = page.locator("#losses-formula .formula math")
    expect(formula).to_have_attribute(
        "alttext",
        r"\frac{1}{\text{scale}} \log \left( 1 + \sum_{-} e^{\text{scale} \cdot (s^- - s^+ + \text{margin})} \right)",
    )
    drawn = formula.bounding_box()
    assert (
        drawn["height"] > 25 and formula.locator("mfrac").count() == 1
    )  # laid out as a fraction, not as a line
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert not serious(page)
    page.locator("#losses-fields").get_by_role("button", name="info_nce").click()
    expect(page.locator("#losses-name")).to_have_text("info_nce")
    page.go_back()
    expect(page.locator("#losses-name")).to_have_text("unified")


def test_the_table_of_losses_is_sorted_and_opens_a_page_that_leads_to_its_sliders(page, url):
    opened(page, url, "weights")
    page.get_by_role("button", name="Formula and reference").click()
    expect(page.locator("#losses-name")).to_have_text("max_of_hinges")
    page.locator("#losses-table button[data-column='largest weight']").click()
    shown = page.locator("#losses-table tbody tr td:nth-child(6)").all_inner_texts()
    numbers = [float(one.replace(",", "")) for one in shown]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) >= 28
    page.locator("#losses-table").get_by_role("button", name="circle", exact=True).press("Enter")
    expect(page.locator("#losses-name")).to_have_text("circle")
    rest(page)
    page.get_by_role("button", name="Move its parameters").click()
    expect(page.locator("#weights-choice select")).to_have_value("circle (any values)")
    assert state_of(page)["loss"] == ["loss circle"]
