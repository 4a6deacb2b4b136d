"""What the page shows of an analysis, as HTML: the player, the taggrams that follow it, the best tags."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from tagging.results import Analysis, split_tag
from tagging.taggram import COLORS, TICK_SECONDS, clock, tag_order, time_extent

TOP = 3  # tags of each family in the summary

STYLE = """
.listen { width: 100%; margin: 0.4em 0; }
.summary { display: flex; flex-wrap: wrap; gap: 1.5em; margin: 0.6em 0; }
.summary table, .summary tr, .summary td { border: 0 !important; }
.summary td { padding: 0.1em 0.8em 0.1em 0 !important; vertical-align: top; }
.summary caption { text-align: left; }
.taggram { display: grid; grid-template-columns: max-content 3.2em 1fr; column-gap: 0.5em; margin: 0.4em 0 1.2em; }
.taggram .row { font-size: 12px; line-height: 16px; height: 16px; white-space: nowrap; }
.taggram .family { opacity: 0.6; }
.taggram .now { text-align: right; font-variant-numeric: tabular-nums; }
.taggram .plot { position: relative; cursor: pointer; background: #fff; border: 1px solid #888; overflow: hidden; }
.taggram .plot img { position: absolute; top: 0; height: 100%; max-width: none; image-rendering: pixelated; margin: 0; }
.taggram .cursor { position: absolute; top: 0; bottom: 0; width: 2px; background: #00a2ff; left: 0; }
.taggram .axis { position: relative; height: 18px; font-size: 11px; }
.taggram .axis span { position: absolute; transform: translateX(-50%); }
.colours { height: 10px; width: 12em; display: inline-block; border: 1px solid #888; margin: 0 0.4em; }
"""

# The cursors follow the player; a click in a taggram moves the player.
SCRIPT = """
<script>
(() => {
  const player = () => document.querySelector("audio.listen");
  const follow = () => {
    const audio = player();
    if (audio) {
      for (const gram of document.querySelectorAll(".taggram")) {
        const time = audio.currentTime;
        const {end, first, hop} = gram.dataset;
        gram.querySelector(".cursor").style.left = Math.min(100, 100 * time / end) + "%";
        gram.scores = gram.scores || JSON.parse(gram.dataset.scores);
        const last = gram.scores.length - 1;
        const chunk = Math.max(0, Math.min(last, Math.floor((time - first) / hop)));
        if (gram.chunk !== chunk) {
          gram.chunk = chunk;
          gram.querySelectorAll(".now").forEach((cell, i) => { cell.textContent = gram.scores[chunk][i].toFixed(2); });
        }
      }
    }
    requestAnimationFrame(follow);
  };
  requestAnimationFrame(follow);
  document.addEventListener("click", (event) => {
    const plot = event.target.closest ? event.target.closest(".taggram .plot") : null;
    if (plot && player()) {
      const box = plot.getBoundingClientRect();
      player().currentTime = plot.parentElement.dataset.end * (event.clientX - box.left) / box.width;
    }
  });
})();
</script>
"""


def results_html(name: str, audio_path: str, analyses: Sequence[Analysis]) -> str:
    """The whole result.

    Args:
        name: of the recording.
        audio_path: of its file, which the page's server must be willing to serve.
        analyses: one for each model.
    """
    player = f'<audio class="listen" controls src="gradio_api/file={quote(audio_path)}"></audio>'
    summaries = "".join(_summary(analysis) for analysis in analyses)
    taggrams = "".join(_taggram(analysis) for analysis in analyses)
    colours = f'<img class="colours" src="{_picture(np.linspace(0, 1, 64)[None])}">'
    return (
        f"<h3>{html.escape(name)} ({clock(max(one.seconds for one in analyses))})</h3>{player}"
        f'<div class="summary">{summaries}</div><div>score 0{colours}1 · click to move</div>{taggrams}'
    )


def _summary(analysis: Analysis) -> str:
    rows = []
    for family, tags in analysis.top_by_family(TOP).items():
        best = "<br>".join(f"{score:.2f} {html.escape(tag)}" for tag, score in tags)
        rows.append(f"<tr><td>{html.escape(family)}</td><td>{best}</td></tr>")
    return f"<table><caption><b>{html.escape(analysis.label)}</b></caption>{''.join(rows)}</table>"


def _taggram(analysis: Analysis) -> str:
    order = tag_order(analysis)
    end = max(analysis.seconds, analysis.starts[-1] + analysis.chunk_seconds)
    first, last = time_extent(analysis)
    scores = analysis.chunk_scores[:, order]
    names = []
    for i in order:
        family, tag = split_tag(analysis.tags[i], analysis.dataset)
        names.append(f'<div class="row"><span class="family">{html.escape(family)}</span> {html.escape(tag)}</div>')
    now = "".join(f'<div class="row now">{score:.2f}</div>' for score in scores[0])
    place = f"left: {100 * first / end:.4f}%; width: {100 * (last - first) / end:.4f}%"
    step = next((seconds for seconds in TICK_SECONDS if end / seconds <= 10), 7200)
    ticks = "".join(
        f'<span style="left: {100 * seconds / end:.3f}%">{clock(seconds)}</span>'
        for seconds in range(0, int(end) + 1, step)
    )
    values = html.escape(json.dumps(scores.round(2).tolist(), separators=(",", ":")))
    return (
        f"<b>{html.escape(analysis.label)}</b>"
        f'<div class="taggram" data-end="{end:.3f}" data-first="{first:.3f}" data-hop="{analysis.hop_seconds:.5f}" '
        f'data-scores="{values}"><div>{"".join(names)}</div><div>{now}</div>'
        f'<div class="plot"><img style="{place}" src="{_picture(scores.T)}"><div class="cursor"></div></div>'
        f'<div></div><div></div><div class="axis">{ticks}</div></div>'
    )


def _picture(scores: np.ndarray) -> str:
    """Scores (rows, columns) as a PNG of one pixel each, in a data URL."""
    from matplotlib import image

    file = io.BytesIO()
    image.imsave(file, scores, cmap=COLORS, vmin=0, vmax=1, format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
