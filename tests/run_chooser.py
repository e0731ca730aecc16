"""The chooser of runs in the sidebar, as the journeys use it."""

from playwright.sync_api import Page, expect


def tick(page: Page, name: str, chooser: str = "runs") -> None:
    """Types a name and takes it."""
    page.locator(f"#{chooser} input").click()
    page.locator(f"#{chooser} input").fill(name)
    page.locator(f"#{chooser}").get_by_role("option", name=name, exact=True).click()
    page.locator(f"#{chooser} input").blur()
    expect(chips(page, chooser).filter(has_text=name).first).to_be_visible()


def untick(page: Page, name: str, chooser: str = "runs") -> None:
    """Takes a name out."""
    chips(page, chooser).filter(has_text=name).locator(".token-remove").click()
    expect(chips(page, chooser).filter(has_text=name)).to_have_count(0)


def chips(page: Page, chooser: str = "runs"):
    return page.locator(f"#{chooser} .token")
