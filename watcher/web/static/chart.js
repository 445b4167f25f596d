// Activity as a chart, drawn from the table beside it.
const table = document.getElementById("bars"), place = document.getElementById("chart");
const COLOURS = { insert: "#2f9e63", update: "#d09a2b", replace: "#b07512", delete: "#d9534a", baseline: "#5b9bd5", reconcile: "#8e6fc1" };
let chart = null;

function draw() {
  if (!table || !place || !window.uPlot) return;
  const operations = [...table.querySelectorAll("th[data-op]")].map((cell) => cell.dataset.op);
  const rows = [...table.tBodies[0].rows];
  const at = rows.map((row) => new Date(row.cells[0].querySelector("time").dateTime).getTime() / 1000);
  const counts = operations.map((_, index) => rows.map((row) => Number(row.cells[index + 1].textContent)));
  // Stacked: each series is drawn from the sum of those before it, the highest first.
  const sums = counts.map((_, index) => at.map((_, slice) => counts.slice(0, index + 1).reduce((sum, series) => sum + series[slice], 0)));
  const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink2").trim(), line = style.getPropertyValue("--line").trim();
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "12px system-ui" };
  const series = operations.map((operation, index) => ({
    label: operation, fill: COLOURS[operation] ?? "#8a93a0", stroke: COLOURS[operation] ?? "#8a93a0", width: 0, points: { show: false },
    paths: uPlot.paths.bars({ size: [0.8, 40] }), value: (_, __, ___, slice) => (slice == null ? "–" : String(counts[index][slice])),
  }));
  chart?.destroy();
  const width = () => Math.max(place.clientWidth, 240);
  chart = new uPlot({ width: width(), height: 190, series: [{}, ...series.slice().reverse()], axes: [axis, { ...axis, size: 54 }], scales: { y: { range: (_, __, most) => [0, Math.max(most, 1)] } }, cursor: { points: { show: false } } }, [at, ...sums.slice().reverse()], place);
  new ResizeObserver(() => chart.setSize({ width: width(), height: 190 })).observe(place);
}
addEventListener("watcher-theme", draw);
draw();
