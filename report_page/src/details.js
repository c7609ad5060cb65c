// What is known of the node or fold that was chosen.
import { select } from "d3-selection";
import { MEASURES, shape, STATUSES } from "./format.js";

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

export class Details {
  constructor(parent, host) {
    this.host = host;
    this.root = select(parent).append("aside").attr("class", "details").attr("aria-label", "Details").attr("aria-live", "polite");
    this.clear();
  }

  clear() {
    this.root.selectAll("*").remove();
    this.root.append("p").attr("class", "hint").text("Choose a box to see what became of it and why. Arrow keys walk, Enter opens a fold, / searches.");
  }

  show({ node, fold }) {
    this.root.selectAll("*").remove();
    const { before, after } = this.host;
    if (fold) this.fold(before?.folds.get(fold), after?.folds.get(fold));
    else this.node(node, before?.nodes.get(node), after?.nodes.get(node));
  }

  fold(old, now) {
    const any = now ?? old;
    if (!any) return;
    this.root.append("h2").text(any.label);
    const counts = STATUSES.filter(({ key }) => any.statuses[key]).map(({ key, label }) => `${any.statuses[key]} ${label}`);
    this.root.append("p").text(`${any.nodes.length} layers${counts.length ? `: ${counts.join(", ")}` : ""}`);
    this.costs(old, now);
    this.button(this.host.open.has(any.id) ? "Fold" : "Open", () => this.host.toggle(any.id));
  }

  node(name, old, now) {
    const any = now ?? old;
    if (!any) return;
    this.root.append("h2").text(name);
    const status = STATUSES.find((each) => each.key === any.status);
    const line = this.root.append("p");
    line.append("span").attr("class", "kind").text(old && now && old.kind !== now.kind ? `${old.kind} → ${now.kind}` : any.kind);
    if (status) {
      line.append("span").attr("class", `badge ${status.key}`).text(`${status.sign} ${status.label}`.trim());
      const what = any.changes?.length ? any.changes.join(", ") : status.says;
      line.append("span").attr("class", "says").text(what);
    }
    this.said(name, any);
    this.costs(old, now);
    this.pairs("Options", old?.options, now?.options, plain);
    this.pairs("Weights", old?.weights, now?.weights, ([sizes, dtype]) => `${shape(sizes)} ${dtype}`);
    if (any.unknown) this.list("Not counted", [any.unknown]);
    const from = now?.origin ?? [];
    if (from.length) this.links("Comes from", from);
    const into = this.host.after ? [...this.host.after.nodes.values()].filter((each) => each.origin?.includes(name) && each.name !== name) : [];
    if (into.length) this.links("Went into", into.map((each) => each.name));
    const tree = now ? this.host.after : this.host.before;
    const place = tree.drawing.nodes.indexOf(any);
    const near = (mine, other) => [...new Set(tree.drawing.edges.filter((e) => e[mine] === place).map((e) => tree.drawing.nodes[e[other]].name))];
    this.links("Reads", near(1, 0));
    this.links("Read by", near(0, 1));
  }

  // What each pass said of a node, or of what it came from.
  said(name, node) {
    const names = new Set([name, ...(node.origin ?? [])]);
    for (const [number, item] of this.host.data.passes.entries()) {
      const done = item.changed.filter((site) => names.has(site.node)).map((site) => [site, site.what]);
      const left = item.left.filter((site) => names.has(site.node)).map((site) => [site, `left alone: ${site.why}`]);
      const lines = [...done, ...left].map(([site, text]) => (site.node === name ? text : `${site.node}: ${text}`));
      if (item.removed.includes(name)) lines.push("removed: nothing used it any more");
      for (const group of item.groups ?? []) {
        if (group.layers.includes(name)) lines.push(`group ${group.name}: ${group.kept} of ${group.channels} channels kept`);
      }
      if (lines.length) this.list(`${number + 1}. ${item.name}`, [...new Set(lines)]);
    }
  }

  costs(old, now) {
    const rows = MEASURES.map(({ key, label, show }) => [label, old && show(old[key]), now && show(now[key])]);
    rows.unshift(["output", old && shape(old.shape), now && shape(now.shape)]);
    this.table("Costs", rows);
  }

  pairs(title, old, now, show) {
    const keys = [...new Set([...Object.keys(old ?? {}), ...Object.keys(now ?? {})])];
    const cell = (side, key) => side && (key in side ? show(side[key]) : "-");
    this.table(title, keys.map((key) => [key, cell(old, key), cell(now, key)]));
  }

  table(title, rows) {
    if (!rows.length) return;
    this.root.append("h3").text(title);
    const table = this.root.append("table");
    for (const [label, old, now] of rows) {
      const row = table.append("tr").classed("differs", old !== undefined && now !== undefined && old !== now);
      row.append("th").attr("scope", "row").text(label);
      if (old !== undefined) row.append("td").text(old);
      if (now !== undefined) row.append("td").text(now);
    }
  }

  list(title, lines) {
    this.root.append("h3").text(title);
    this.root.append("ul").selectAll("li").data(lines).join("li").text((text) => text);
  }

  links(title, names) {
    if (!names.length) return;
    this.root.append("h3").text(title);
    const line = this.root.append("p").attr("class", "links");
    for (const name of names.slice(0, 40)) this.button(name, () => this.host.go(name), line);
    if (names.length > 40) line.append("span").text(`and ${names.length - 40} more`);
  }

  button(text, act, parent = this.root) {
    parent.append("button").attr("type", "button").text(text).on("click", act);
  }
}
