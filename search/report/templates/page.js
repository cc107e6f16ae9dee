"use strict";

// Figures are drawn when they come near the window, and all of them before print.
const plots = [...document.querySelectorAll(".plot")];

function draw(plot) {
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const figure = JSON.parse(plot.nextElementSibling.textContent);
  Plotly.newPlot(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true });
}

const watch = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watch.unobserve(entry.target);
      draw(entry.target);
    }
  },
  { rootMargin: "600px" },
);
plots.forEach((plot) => watch.observe(plot));
window.addEventListener("beforeprint", () => plots.forEach(draw));

// As trainer/wording.py writes a threshold.
function written(threshold) {
  return threshold >= 0.1 || threshold === 0 ? threshold.toFixed(3) : String(Number(threshold.toPrecision(2)));
}

// A label's slider moves its cut over the validation rows; to the right it rises.
function startCut(box) {
  const { cuts, found, alarms, rows, positives, chosen } = JSON.parse(
    box.querySelector("script").textContent,
  );
  const slider = box.querySelector("input");
  const back = box.querySelector("button");
  const plot = document.getElementById(box.dataset.plot);
  const fields = [...box.querySelectorAll("[data-field]")];
  const last = cuts.length - 1;

  function show() {
    const place = last - slider.valueAsNumber;
    const predicted = found[place] + alarms[place];
    const precision = predicted ? found[place] / predicted : 0;
    const recall = found[place] / positives;
    const shown = {
      threshold: written(cuts[place]),
      precision: precision.toFixed(3),
      recall: recall.toFixed(3),
      f1: ((2 * found[place]) / (predicted + positives)).toFixed(3),
      predicted: `${((100 * predicted) / rows).toFixed(1)} %`,
      actual: `${((100 * positives) / rows).toFixed(1)} %`,
      tp: found[place].toLocaleString("en"),
      fp: alarms[place].toLocaleString("en"),
      fn: (positives - found[place]).toLocaleString("en"),
      tn: (rows - positives - alarms[place]).toLocaleString("en"),
    };
    for (const field of fields) field.textContent = shown[field.dataset.field];
    slider.setAttribute("aria-valuetext", `threshold ${shown.threshold}, F1 ${shown.f1}`);
    back.disabled = place === chosen;
    if (plot.dataset.drawn) {
      Plotly.restyle(plot, { x: [[recall]], y: [[precision]] }, [plot.data.length - 1]);
    }
  }

  slider.addEventListener("input", () => {
    draw(plot);
    show();
  });
  back.addEventListener("click", () => {
    slider.valueAsNumber = last - chosen;
    slider.focus();
    show();
  });
  slider.valueAsNumber = last - chosen; // a reloaded page may hold an old place
  show();
}

document.querySelectorAll(".cut").forEach(startCut);
