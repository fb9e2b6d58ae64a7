# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, written by hand: bars with the range drawn over them. Readable on light and on dark
pages, without scripts or fonts of their own."""
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 900, 340, 110
ROW, BAR, HEAD, FOOT = 24, 15, 44, 30
COLOURS = {"weir": "#2f7ed8", "roofline": "#9aa0a6"}
OTHER = "#c8853a"
TEXT = "#6b7178"


def number(value):
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if value >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def nice_step(top):
    """A round step that divides up to `top` into four to eight parts."""
    step = 1.0
    while top / step > 8:
        step *= 10
    while top / step < 4:
        step /= 2
    return step


def bars(title, unit, rows):
    """rows: (label, who, median, smallest, largest), from the top."""
    top = max(row[4] for row in rows) or 1
    scale = (WIDTH - LEFT - RIGHT) / top
    height = HEAD + ROW * len(rows) + FOOT
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
             'font-family="system-ui, sans-serif" font-size="12">',
             f'<title>{escape(title)}</title>',
             f'<text x="8" y="20" font-size="14" font-weight="600" fill="{TEXT}">{escape(title)}</text>',
             f'<text x="8" y="36" fill="{TEXT}">{escape(unit)}; median, and the range of the rounds</text>']
    step = nice_step(top)
    bottom = HEAD + ROW * len(rows)
    tick = 0.0
    while tick <= top * 1.001:
        x = LEFT + tick * scale
        lines.append(f'<line x1="{x:.1f}" y1="{HEAD}" x2="{x:.1f}" y2="{bottom}" stroke="{TEXT}" stroke-opacity="0.25"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="{TEXT}">{number(tick)}</text>')
        tick += step
    for place, (label, who, median, low, high) in enumerate(rows):
        y = HEAD + ROW * place + (ROW - BAR) / 2
        middle = y + BAR / 2
        colour = COLOURS.get(who, OTHER)
        lines += [
            f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end" fill="{TEXT}">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y:.1f}" width="{median * scale:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<line x1="{LEFT + low * scale:.1f}" y1="{middle:.1f}" x2="{LEFT + high * scale:.1f}" y2="{middle:.1f}" '
            f'stroke="{TEXT}" stroke-width="2"/>',
            f'<text x="{LEFT + high * scale + 6:.1f}" y="{middle + 4:.1f}" fill="{TEXT}">{number(median)}</text>']
    return "\n".join([*lines, "</svg>", ""])
