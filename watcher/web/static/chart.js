// Activity as a chart, drawn from the table beside it.
const table = document.getElementById("bars"), place = document.getElementById("chart");
const COLOURS = { insert: "#2f9e63", update: "#d09a2b", replace: "#b07512", delete: "#d9534a", baseline: "#5b9bd5", reconcile: "#8e6fc1" };
let chart = null;

/** A moment as elsewhere: ISO 8601, in the reader's zone or UTC; days and months are those of UTC. */
const unit = table?.dataset.unit, inUtc = () => unit !== "hour" || document.documentElement.dataset.zone !== "local";
const iso = (seconds) => new Date(seconds * 1000 - (inUtc() ? 0 : new Date(seconds * 1000).getTimezoneOffset() * 60000)).toISOString();
const written = (seconds) => iso(seconds).slice(0, { hour: 16, day: 10, month: 7 }[unit]).replace("T", " ");

/** What stands below the chart: short, with the day or the year where it begins. */
function labels(moments) {
  const [short, long] = { hour: [[11, 16], [0, 10]], day: [[5, 10], [0, 4]], month: [[0, 7], [7, 7]] }[unit];
  let last = "";
  return moments.map((moment) => {
    const at = iso(moment), above = at.slice(...long), said = at.slice(...short) + (above === last ? "" : "\n" + above);
    last = above;
    return said;
  });
}

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
  chart = new uPlot({ width: width(), height: 190, tzDate: (at) => (inUtc() ? uPlot.tzDate(new Date(at * 1000), "Etc/UTC") : new Date(at * 1000)), series: [{ label: "from", value: (_, at) => (at == null ? "–" : written(at)) }, ...series.slice().reverse()], axes: [{ ...axis, space: 70, values: (_, moments) => labels(moments) }, { ...axis, size: 54 }], scales: { y: { range: (_, __, most) => [0, Math.max(most, 1)] } }, cursor: { points: { show: false } } }, [at, ...sums.slice().reverse()], place);
  new ResizeObserver(() => chart.setSize({ width: width(), height: 190 })).observe(place);
}
addEventListener("watcher-look", draw);
draw();
