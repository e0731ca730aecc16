"""Colours, type and spacing of the whole page."""

from __future__ import annotations

from xmr.page.host import gr

# Of the fonts in Gradio's wheel this one has all letters, and figures of one width, in two weights; the files of half-bold
# weights hold a few foreign letters only (6.31), so bold is 700.
SANS = (gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")


FONTS = "".join(
    f"<link rel='preload' href='static/fonts/IBMPlexSans/IBMPlexSans-{weight}.woff2' as='font' type='font/woff2' crossorigin>"
    for weight in ("Regular", "Bold")
)  # before the style sheet asks for them, so that no line is laid out twice


def theme() -> gr.themes.Base:
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_sm,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="#f8fafc",
        body_background_fill_dark="#0b1120",
        # The default's subdued grey has 2.6:1 on white; these pass 4.5:1.
        body_text_color_subdued="#5b6a80",
        body_text_color_subdued_dark="#9fb0c6",
        block_shadow="none",
        button_primary_background_fill="#0b5c94",
        button_primary_background_fill_hover="#0a4d7c",
        button_primary_background_fill_dark="#1d72ad",
        button_primary_background_fill_hover_dark="#2b86c5",
        button_primary_text_color="white",
        button_secondary_background_fill="*background_fill_primary",
        button_secondary_background_fill_hover="*background_fill_secondary",
        button_secondary_background_fill_dark="*background_fill_primary",
        button_secondary_background_fill_hover_dark="*background_fill_secondary",
        button_secondary_border_color="*border_color_primary",
        button_secondary_border_color_dark="*border_color_primary",
        button_border_width="1px",
        button_medium_text_weight="700",
    )
