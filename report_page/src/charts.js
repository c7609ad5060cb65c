// Charts: learning curves, worth against cost, bars; and rows of pictures. Data as kerasurgeon/report/charts.py makes it.
import { select } from "d3-selection";
import { count } from "./format.js";

const SIZE = { width: 460, height: 260, left: 58, right: 14, top: 12, bottom: 42 };
const NAMED = 14; // height of a line of names below bars
const WIDE = 24; // bars from which a chart takes the whole width
const MOST_NAMES = 160;

const finite = (value) => value !== null && Number.isFinite(value);

// Round numbers that span a range, about so many.
function ticks(low, high, wanted, whole = false) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const fine = [1, 2, 5, 10].map((part) => part * power).find((each) => span / each <= wanted);
  const step = whole ? Math.max(1, fine) : fine;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return found;
}

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return count(value);
  if (size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

function range(values, zero) {
  let low = Math.min(...values, ...(zero ? [0] : []));
  let high = Math.max(...values, ...(zero ? [0] : []));
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const room = (high - low) * 0.04;
  return [zero && low === 0 ? 0 : low - room, zero && high === 0 ? 0 : high + room];
}

function chart(parent, { title, x, y, series, names, note }) {
  const bars = names.length > 0;
  const wide = names.length > WIDE;
  const root = select(parent).append("figure").attr("class", `chart${wide ? " wide" : ""}`);
  root.append("figcaption").text(title);
  const points = series.flatMap((each) => each.points).filter((point) => finite(point[0]) && finite(point[1]));
  if (!points.length) {
    root.append("p").attr("class", "note").text("There is nothing to draw.");
    return;
  }
  const longest = Math.min(26, Math.max(0, ...names.map((name) => name.length)));
  const below = bars ? (names.length <= MOST_NAMES ? longest * 6.2 + 18 : 24) : SIZE.bottom;
  const width = wide ? Math.max(SIZE.width, names.length * NAMED + 90) : SIZE.width;
  const height = SIZE.height - SIZE.bottom + below;
  const svg = root.append("div").attr("class", "plot").append("svg").attr("viewBox", `0 0 ${width} ${height}`);
  svg.attr("role", "img").attr("aria-label", `${title}: ${y}${x ? ` against ${x}` : ""}`);
  if (wide) svg.style("min-width", `${width}px`);
  const [left, right, top, bottom] = [SIZE.left, width - SIZE.right, SIZE.top, height - below];
  const [x0, x1] = bars ? [-0.6, names.length - 0.4] : range(points.map((point) => point[0]), false);
  const [y0, y1] = range(points.map((point) => point[1]), bars);
  const px = (value) => left + ((value - x0) / (x1 - x0)) * (right - left);
  const py = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - top);
  const grid = svg.append("g").attr("class", "grid");
  for (const value of ticks(y0, y1, 5)) {
    grid.append("line").attr("x1", left).attr("x2", right).attr("y1", py(value)).attr("y2", py(value)).classed("zero", value === 0);
    grid.append("text").attr("x", left - 6).attr("y", py(value) + 3.5).attr("text-anchor", "end").text(number(value));
  }
  if (bars) {
    if (names.length <= MOST_NAMES) {
      names.forEach((name, place) => {
        const text = grid.append("text").attr("text-anchor", "end");
        text.attr("transform", `translate(${px(place) + 3.5},${bottom + 6}) rotate(-90)`);
        text.text(name.length > 26 ? `…${name.slice(-25)}` : name).append("title").text(name);
      });
    }
  } else {
    for (const value of ticks(x0, x1, 6, points.every((point) => Number.isInteger(point[0])))) {
      grid.append("line").attr("x1", px(value)).attr("x2", px(value)).attr("y1", top).attr("y2", bottom);
      grid.append("text").attr("x", px(value)).attr("y", bottom + 15).attr("text-anchor", "middle").text(number(value));
    }
    grid.append("text").attr("x", (left + right) / 2).attr("y", bottom + 33).attr("text-anchor", "middle").text(x);
  }
  grid.append("text").attr("transform", `translate(12,${(top + bottom) / 2}) rotate(-90)`).attr("text-anchor", "middle").text(y);
  series.forEach((each, place) => {
    const group = svg.append("g").attr("class", `series s${place % 6}`);
    const shown = each.points.filter((point) => finite(point[0]) && finite(point[1]));
    const said = (point, at) => [each.labels?.[at], `${each.name}: ${x ? `${x} ${number(point[0])}, ` : ""}${y} ${number(point[1])}`];
    const tell = (made) => made.append("title").text((point) => said(point, each.points.indexOf(point)).filter(Boolean).join("\n"));
    if (each.kind === "bars") {
      const thick = Math.max(1, 0.76 * (px(1) - px(0)));
      const bar = group.selectAll("rect").data(shown).join("rect").attr("x", (d) => px(d[0]) - thick / 2).attr("width", thick);
      bar.attr("y", (d) => Math.min(py(d[1]), py(0))).attr("height", (d) => Math.max(1, Math.abs(py(d[1]) - py(0))));
      tell(bar);
      return;
    }
    if (each.kind !== "points" && shown.length > 1) {
      const turn = (d, at) => (each.kind === "steps" && at ? `H${px(d[0])}` : "");
      const path = shown.map((d, at) => `${at ? `${turn(d, at)}L` : "M"}${px(d[0])},${py(d[1])}`).join("");
      group.append("path").attr("d", path).attr("class", each.kind);
    }
    if (each.kind === "points" || shown.length <= 60) {
      const dots = group.selectAll("circle").data(shown).join("circle").attr("cx", (d) => px(d[0])).attr("cy", (d) => py(d[1]));
      tell(dots.attr("r", each.kind === "points" ? 4 : 2.4));
    }
  });
  if (series.length > 1 || series[0].name !== y) {
    const legend = root.append("p").attr("class", "names");
    series.forEach((each, place) => {
      const item = legend.append("span").attr("class", "item");
      item.append("span").attr("class", `dot s${place % 6}`);
      item.append("span").text(each.name);
    });
  }
  if (note) root.append("p").attr("class", "note").text(note);
}

// Charts of one section stand side by side.
export function charts(parent, { data }) {
  const sections = new Map();
  for (const each of data.charts ?? []) sections.set(each.section, [...(sections.get(each.section) ?? []), each]);
  for (const [name, several] of sections) {
    const root = select(parent).append("section").attr("class", "below");
    root.append("h2").text(name);
    const side = root.append("div").attr("class", "charts").node();
    for (const each of several) chart(side, each);
  }
}

export function pictures(parent, { data }) {
  for (const { title, heads, rows, names, note } of data.pictures ?? []) {
    const root = select(parent).append("section").attr("class", "below pictures");
    root.append("h2").text(title);
    const table = root.append("div").attr("class", "scroll").append("table").attr("class", "plain");
    table.append("thead").append("tr").selectAll("th").data(heads).join("th").attr("scope", "col").text((d) => d);
    const row = table.append("tbody").selectAll("tr").data(rows).join("tr");
    const cell = row.selectAll("td").data((d, place) => d.map((uri, at) => [uri, `${heads[at]}, ${place + 1}`])).join("td");
    cell.append("img").attr("src", (d) => d[0]).attr("alt", (d) => d[1]);
    const legend = root.append("p").attr("class", "names");
    for (const [name, colour] of names) {
      const item = legend.append("span").attr("class", "item");
      item.append("span").attr("class", "dot").style("background", colour);
      item.append("span").text(name);
    }
    if (note) root.append("p").attr("class", "note").text(note);
  }
}
