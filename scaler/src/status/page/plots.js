"use strict";

// The past hours, from /api/history: four plots, every decision marked on them, and the same as text.

let history = null, plots = [];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const height = 240;

const shapes = [
  { id: "plot-workers", unit: "", columns: ["need", "forecast", "serving", "booting"], stepped: true,
    series: [["needed", "needed", [2, 3]], ["forecast", "forecast", [8, 4]], ["serving", "serving"], ["booting", "booting", [4, 2]]] },
  { id: "plot-requests", unit: "", columns: ["waiting", "in_flight", "slots"], stepped: true,
    series: [["in queue", "waiting"], ["at workers", "serving"], ["slots", "booting", [8, 4]]] },
  { id: "plot-arrivals", unit: "", columns: ["per_s"], series: [["arrivals/s", "accent"]] },
  { id: "plot-latency", unit: "ms", columns: ["p50_ms", "p95_ms", "p99_ms", "slo_ms"],
    series: [["p50", "serving"], ["p95", "forecast"], ["p99", "needed"], ["SLO", "slo", [8, 4]]] },
];

function drawMarks(plot) {
  const context = plot.ctx, { left, top, width, height } = plot.bbox;
  context.save();
  context.setLineDash([]);
  for (const change of history ? history.decisions : []) {
    const x = plot.valToPos(change.at / 1000, "x", true);
    if (x < left || x > left + width) continue;
    const ordered = change.by === "operator";
    context.strokeStyle = color(ordered ? "needed" : "ink");
    context.lineWidth = 1.5 * devicePixelRatio;
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x, top + (ordered ? height : 9 * devicePixelRatio));
    context.stroke();
  }
  context.restore();
}

const changeInWords = (change) => `${time(change.at)}  ${change.reason}`;

function sayNear(plot) {
  if (!history || plot.cursor.left < 0) return;
  const at = plot.posToVal(plot.cursor.left, "x") * 1000;
  const reach = (plot.scales.x.max - plot.scales.x.min) * 1000 * 0.015;
  const near = history.decisions.filter((change) => Math.abs(change.at - at) < reach);
  if (near.length) setText(by("near"), near.slice(-3).map(changeInWords).join("\n"));
}

function makePlot({ id, unit, series, stepped }) {
  const target = by(id);
  const write = unit === "ms" ? duration : count;
  const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const paths = stepped ? uPlot.paths.stepped({ align: 1 }) : undefined;
  const clock = (_, seconds) => seconds.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }));
  return new uPlot({
    width: target.clientWidth || 300, height: height - 30,
    plugins: [{ hooks: { drawClear: drawMarks, setCursor: sayNear } }],
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "time" } },
    scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.1] } },
    axes: [{ ...axis, values: clock, space: 70 }, { ...axis, size: 62, incrs: unit === "ms" ? undefined : [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4], values: (_, ticks) => ticks.map(write) }],
    series: [
      { value: (_, seconds) => seconds == null ? none : time(seconds * 1000), label: "at" },
      ...series.map(([label, name, dash]) => ({
        label, stroke: color(name), width: 2, dash, paths, points: { show: false }, value: (_, value) => value == null ? none : write(value),
      })),
    ],
  }, [[]], target);
}

function makePlots() {
  for (const plot of plots) plot.destroy();
  plots = shapes.map(makePlot);
  showPlots();
}

function showPlots() {
  if (!history || !history.points.length) return;
  const end = history.points[history.points.length - 1].at;
  const points = history.points.filter((point) => point.at >= end - 1000 * by("span").value);
  const at = points.map((point) => point.at / 1000);
  plots.forEach((plot, index) => {
    plot.setData([at, ...shapes[index].columns.map((name) => points.map((point) => point[name] ?? null))]);
  });
}

function showValues() {
  const last = history.points.slice(-30).reverse();
  showRows(by("values"), last, (point) => String(point.at), cells(12, true), (row, point) => fillCells(row, [
    time(point.at), count(point.need), count(point.forecast), count(point.serving), count(point.booting), count(point.waiting),
    count(point.in_flight), count(point.slots), count(point.per_s), duration(point.p50_ms), duration(point.p95_ms), duration(point.p99_ms),
  ]), "no tick yet");
}

function showDecisions(announced) {
  const recent = history.decisions.slice(-100).reverse();
  const keyOf = (change) => `${change.at} ${change.reason}`;
  showRows(by("decisions"), recent, keyOf, cells(4, false), (row, change) => {
    fillCells(row, [time(change.at), change.by, change.size ? `${change.size[0]} → ${change.size[1]}` : none, change.reason]);
    row.cells[3].className = "text";
  }, "no changes yet");
  const newest = recent[0];
  if (newest && announced != null && announced !== keyOf(newest)) setText(by("announced"), newest.reason);
}

async function loadHistory() {
  const newest = history && history.decisions[history.decisions.length - 1];
  const answer = await fetch(`api/history?fleet=${encodeURIComponent(fleet().fleet)}`);
  if (!answer.ok) return;
  const announced = history ? (newest ? `${newest.at} ${newest.reason}` : "") : null;
  history = await answer.json();
  showDecisions(announced);
  showValues();
  showPlots();
}
