// Below the drawings: costs per layer as bars, passes, groups of channels, other tables.
import { select } from "d3-selection";
import { bytes, count, MEASURES, percent, signOf } from "./format.js";

const FIRST = 40; // rows of bars until all are asked for
const NAMED = 60; // nodes named per reason

const section = (parent, title, id) => {
  const made = select(parent).append("section").attr("class", "below").attr("id", id);
  made.append("h2").text(title);
  return made;
};

export function costBars(parent, host) {
  const { before, after } = host;
  const names = [...new Set([...(before?.nodes.keys() ?? []), ...(after?.nodes.keys() ?? [])])];
  const root = section(parent, "Cost per layer", "costs");
  const bar = root.append("p").attr("class", "controls");
  let measure = MEASURES[0];
  let all = false;
  const choice = bar.append("label").text("Measure ").append("select").attr("id", "measure");
  choice.selectAll("option").data(MEASURES).join("option").attr("value", (d) => d.key).text((d) => d.label);
  choice.on("change", (event) => {
    measure = MEASURES.find((each) => each.key === event.target.value);
    fill();
  });
  const more = bar.append("button").attr("type", "button").on("click", () => {
    all = !all;
    fill();
  });
  const key = bar.append("span").attr("class", "key");
  for (const side of [before && after ? "before" : null, "after"].filter(Boolean)) {
    key.append("span").attr("class", `swatch ${side}`);
    key.append("span").text(before && after ? side : "cost");
  }
  const body = root.append("div").attr("class", "scroll").append("table").attr("class", "bars").append("tbody");
  function fill() {
    const of = (tree, name) => tree?.nodes.get(name)?.[measure.key];
    let rows = names.map((name) => ({ name, old: of(before, name), now: of(after, name) }));
    rows = rows.filter(({ old, now }) => old || now);
    const size = ({ old, now }) => Math.max(old ?? 0, now ?? 0);
    const largest = Math.max(1, ...rows.map(size));
    more.text(all ? `Only the ${FIRST} that cost most` : `All ${rows.length} layers`).attr("hidden", rows.length > FIRST ? null : "");
    if (!all) {
      const bound = rows.map(size).sort((a, b) => b - a)[FIRST - 1] ?? 0;
      rows = rows.filter((row) => size(row) >= bound).slice(0, FIRST);
    }
    body.selectAll("tr").remove();
    const row = body.selectAll("tr").data(rows).join("tr");
    const link = row.append("th").attr("scope", "row").append("button").attr("type", "button");
    link.text((d) => d.name).on("click", (_, d) => host.go(d.name, true));
    row.append("td").attr("class", "sign").text((d) => signOf((after?.nodes.get(d.name) ?? before?.nodes.get(d.name)).status));
    const cell = row.append("td").attr("class", "bar");
    const line = (side, value) =>
      cell.append("div").attr("class", side).style("width", (d) => `${(100 * (value(d) ?? 0)) / largest}%`);
    if (before && after) line("before", (d) => d.old);
    line("after", (d) => (after ? d.now : d.old));
    const numbers = row.append("td").attr("class", "number");
    numbers.text(({ old, now }) => {
      if (!before || !after) return measure.show(now ?? old);
      if (old === undefined) return `new: ${measure.show(now)}`;
      if (now === undefined) return `${measure.show(old)} → gone`;
      return old === now ? measure.show(now) : `${measure.show(old)} → ${measure.show(now)}${old ? ` (${percent(now / old)})` : ""}`;
    });
  }
  fill();
}

const arrow = (old, now, show) => (old === now ? show(now) : `${show(old)} → ${show(now)}${old ? ` (${percent(now / old)})` : ""}`);

export function passes(parent, host) {
  const items = host.data.passes;
  if (!items.length) return;
  const root = section(parent, "Passes", "passes");
  const table = root.append("div").attr("class", "scroll").append("table").attr("class", "plain");
  const heads = ["pass", "promises", "changed", "left alone", "nodes", "parameters", "MACs", "weights", "output change", "seconds"];
  table.append("thead").append("tr").selectAll("th").data(heads).join("th").attr("scope", "col").text((d) => d);
  const rows = items.map((item, place) => [
    `${place + 1}. ${item.name}`,
    item.preserves,
    item.changed.length,
    item.left.length,
    arrow(item.before.nodes, item.after.nodes, String),
    arrow(item.before.parameters, item.after.parameters, count),
    arrow(item.before.macs, item.after.macs, count),
    arrow(item.before.weight_bytes, item.after.weight_bytes, bytes),
    item.difference == null ? "-" : item.difference.toExponential(1),
    item.seconds.toFixed(2),
  ]);
  table.append("tbody").selectAll("tr").data(rows).join("tr").selectAll("td").data((d) => d).join("td").text((d) => d);
  items.forEach((item, place) => onePass(root, item, place, host));
}

function onePass(root, item, place, host) {
  const fold = root.append("details").attr("class", "pass");
  fold.append("summary").text(`${place + 1}. ${item.name}: what it did, what it left alone and why`);
  let filled = false;
  fold.on("toggle", () => {
    if (filled) return;
    filled = true;
    const options = Object.entries(item.options).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    if (options.length) fold.append("p").attr("class", "options").text(options.join(", "));
    for (const note of item.notes) fold.append("p").attr("class", "note").text(note);
    byReason(fold, "Changed", item.changed.map((site) => [site.node, site.what]), host);
    byReason(fold, "Left alone", item.left.map((site) => [site.node, site.why]), host);
    if (item.removed.length) byReason(fold, "Removed", item.removed.map((name) => [name, "nothing used it any more"]), host);
    if (!item.changed.length && !item.left.length) fold.append("p").text("It found no site to look at.");
  });
}

// Nodes by what is said of them, the most frequent first.
function byReason(parent, title, sites, host) {
  if (!sites.length) return;
  parent.append("h3").text(`${title}: ${sites.length}`);
  const reasons = new Map();
  for (const [node, text] of sites) reasons.set(text, [...(reasons.get(text) ?? []), node]);
  const list = parent.append("ul");
  const sorted = [...reasons].sort((one, other) => other[1].length - one[1].length);
  for (const [text, nodes] of sorted) {
    const line = list.append("li");
    line.append("span").text(`${text}${nodes.length > 1 ? ` (${nodes.length})` : ""}: `);
    for (const name of nodes.slice(0, NAMED)) {
      const known = host.before?.nodes.has(name) || host.after?.nodes.has(name);
      if (known) line.append("button").attr("type", "button").text(name).on("click", () => host.go(name, true));
      else line.append("span").attr("class", "unknown").text(name);
    }
    if (nodes.length > NAMED) line.append("span").text(` and ${nodes.length - NAMED} more`);
  }
}

export function groups(parent, host) {
  const rows = host.data.passes.flatMap((item) => (item.groups ?? []).map((group) => ({ ...group, pass: item.name })));
  if (!rows.length) return;
  const root = section(parent, "Groups of channels", "groups");
  root.append("p").attr("class", "note").text("Channels of a group go together. Scores run from the least to the greatest; red ones were removed.");
  const table = root.append("div").attr("class", "scroll").append("table").attr("class", "plain");
  const reasons = rows.some((row) => row.why) ? ["why none may go"] : [];
  const heads = ["group", "layers", "channels", "kept", "importance", ...reasons];
  table.append("thead").append("tr").selectAll("th").data(heads).join("th").attr("scope", "col").text((d) => d);
  const row = table.append("tbody").selectAll("tr").data(rows).join("tr");
  row.append("td").append("button").attr("type", "button").text((d) => d.name).on("click", (_, d) => host.go(d.layers[0], true));
  row.append("td").text((d) => d.layers.slice(0, 4).join(", ") + (d.layers.length > 4 ? ` and ${d.layers.length - 4} more` : ""));
  row.append("td").text((d) => d.channels);
  row.append("td").text((d) => `${d.kept} (${percent(d.kept / d.channels)})`);
  row.append("td").each(function (d) {
    spark(select(this), d);
  });
  if (reasons.length) row.append("td").text((d) => d.why);
}

// Sorted scores as columns; those below the cut are filled.
function spark(cell, { scores, cut }) {
  if (!scores.length) return;
  const top = Math.max(...scores.map(Math.abs), Number.MIN_VALUE);
  const svg = cell.append("svg").attr("class", "spark").attr("viewBox", `0 0 ${scores.length * 4} 24`).attr("role", "img");
  svg.attr("aria-label", `scores from ${scores[0]} to ${scores.at(-1)}, ${percent(cut)} below the cut`);
  svg.append("title").text(`${scores[0]} … ${scores.at(-1)}`);
  const bar = svg.selectAll("rect").data(scores).join("rect");
  bar.attr("x", (_, i) => i * 4).attr("width", 3).attr("y", (d) => 24 - (23 * Math.abs(d)) / top - 1);
  bar.attr("height", (d) => (23 * Math.abs(d)) / top + 1).attr("class", (_, i) => ((i + 0.5) / scores.length < cut ? "removed" : "kept"));
}

export function others(parent, { data }) {
  for (const { title, heads, rows, note, left = 1 } of data.tables) {
    const root = section(parent, title, null);
    const table = root.append("div").attr("class", "scroll").append("table").attr("class", "plain");
    const words = (_, place) => place > 0 && place < left;
    const head = table.append("thead").append("tr").selectAll("th").data(heads).join("th");
    head.attr("scope", "col").classed("words", words).text((d) => d);
    const row = table.append("tbody").selectAll("tr").data(rows).join("tr");
    row.selectAll("td").data((d) => d).join("td").classed("words", words).text((d) => d ?? "-");
    if (note) root.append("p").attr("class", "note").text(note);
  }
  if (data.notes.length) {
    const root = section(parent, "Notes", "notes");
    root.append("ul").selectAll("li").data(data.notes).join("li").text((d) => d);
  }
}
