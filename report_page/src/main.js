// The page: what is in it, and what is chosen, open and searched for.
import { select } from "d3-selection";
import { charts, pictures } from "./charts.js";
import { Details } from "./details.js";
import { count, kept, STATUSES, TOTALS } from "./format.js";
import { Pane } from "./pane.js";
import style from "./style.css";
import { costBars, groups, others, passes } from "./tables.js";
import { Tree } from "./tree.js";

const MANY = 60; // more layers than that are folded at first
const LISTED = 50; // hits of a search

class Host {
  constructor(data) {
    this.data = data;
    this.before = data.before && new Tree(data.before);
    this.after = data.after && new Tree(data.after);
    this.trees = [this.before, this.after].filter(Boolean);
    this.largest = 0; // MACs of all boxes that are seen: what the bars in them are drawn against
    this.open = new Set();
    this.chosen = {};
    this.hits = null;
    if (Math.max(0, ...this.trees.map((tree) => tree.nodes.size)) <= MANY) this.all();
  }

  all() {
    this.open = new Set(this.trees.flatMap((tree) => [...tree.folds.keys()]));
  }

  build(body) {
    this.head(body);
    if (this.trees.length) {
      this.toolbar(body);
      const stage = body.append("main").attr("class", `stage panes-${this.trees.length}`).node();
      const titles = this.before && this.after ? ["before", "after"] : [this.trees[0].drawing.name];
      this.panes = this.trees.map((tree, place) => new Pane(stage, titles[place], tree, this));
      this.details = new Details(stage, this);
    }
    const below = body.append("div").attr("class", "tables").node();
    const run = this.data.passes.length > 0; // of passes; else of trainings, or of none
    const measured = () => [others, charts, pictures].forEach((part) => part(below, this));
    if (!run) measured();
    if (this.trees.length) costBars(below, this);
    passes(below, this);
    groups(below, this);
    if (run) measured();
    return this.redraw();
  }

  head(body) {
    const head = body.append("header").attr("class", "top");
    head.append("h1").text(this.data.title);
    const cards = head.append("dl").attr("class", "totals");
    const layers = { key: "nodes", label: "layers", show: String };
    const value = (tree, key) => (key === "nodes" ? tree?.nodes.size : tree?.drawing.totals[key]);
    for (const { key, label, show } of this.trees.length ? [layers, ...TOTALS] : []) {
      const [old, now] = [value(this.before, key), value(this.after, key)];
      const card = cards.append("div");
      card.append("dt").text(label);
      const text = card.append("dd");
      if (old !== undefined && now !== undefined && old !== now) {
        text.append("span").text(`${show(old)} → `);
        text.append("strong").text(show(now));
        if (old && now != null && key !== "nodes") text.append("span").attr("class", "kept").text(` ${kept(now / old)}`);
      } else text.append("strong").text(show(now ?? old));
    }
  }

  toolbar(body) {
    const bar = body.append("div").attr("class", "toolbar");
    const find = bar.append("div").attr("class", "find").attr("role", "search");
    this.input = find.append("input").attr("type", "search").attr("id", "search").attr("placeholder", "Search layers (/)");
    this.input.attr("aria-label", "Search layers by name or kind").attr("autocomplete", "off");
    this.list = find.append("ul").attr("class", "hits").attr("hidden", "");
    this.found = find.append("span").attr("class", "found").attr("aria-live", "polite");
    this.input.on("input", () => this.search(this.input.property("value")));
    this.input.on("keydown", (event) => {
      if (event.key === "Enter") this.list.select("button").node()?.click();
      if (event.key === "Escape") this.search("");
      if (event.key === "ArrowDown") this.list.select("button").node()?.focus();
    });
    const button = (id, text, act) => bar.append("button").attr("type", "button").attr("id", id).text(text).on("click", act);
    if (this.trees.some((tree) => tree.folds.size)) {
      button("open-all", "Open all", () => {
        this.all();
        this.redraw();
      });
      button("fold-all", "Fold all", () => {
        this.open = new Set();
        this.redraw();
      });
    }
    if (this.before && this.after) {
      const legend = bar.append("ul").attr("class", "legend").attr("aria-label", "Legend");
      for (const { key, sign, label, says } of STATUSES) {
        const item = legend.append("li").attr("title", says);
        item.append("span").attr("class", `swatch ${key}`).text(sign);
        const nodes = key === "gone" ? this.before : this.after;
        item.append("span").text(`${label} ${count([...nodes.nodes.values()].filter((node) => node.status === key).length)}`);
      }
    }
    select(document).on("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
        event.preventDefault();
        this.input.node().focus();
      }
    });
  }

  search(text) {
    if (this.input.property("value") !== text) this.input.property("value", text);
    const wanted = text.trim().toLowerCase();
    this.list.selectAll("*").remove();
    this.hits = null;
    if (wanted) {
      const nodes = new Map(this.trees.flatMap((tree) => [...tree.nodes]));
      const hits = [...nodes.values()].filter((node) => node.name.toLowerCase().includes(wanted));
      if (!hits.length) hits.push(...[...nodes.values()].filter((node) => node.kind.toLowerCase().includes(wanted)));
      this.hits = new Set(hits.map((node) => node.name));
      const item = this.list.selectAll("li").data(hits.slice(0, LISTED)).join("li").append("button").attr("type", "button");
      item.append("span").text((d) => d.name);
      item.append("span").attr("class", "kind").text((d) => d.kind);
      item.on("click", (_, d) => {
        this.list.attr("hidden", "");
        this.go(d.name);
      });
    }
    this.list.attr("hidden", this.hits?.size ? null : "");
    this.found.text(this.hits ? `${this.hits.size} found` : "");
    for (const pane of this.panes) pane.highlight();
  }

  // Choose a box; the other pane shows its counterpart.
  choose(target, from) {
    this.chosen = target;
    this.details.show(target);
    for (const pane of this.panes) {
      pane.highlight();
      if (pane !== from) pane.show(target);
    }
  }

  // Open what is folded around a node, choose it, bring it into sight.
  async go(name, scroll = false) {
    for (const tree of this.trees) for (const id of tree.nodes.get(name)?.path ?? []) this.open.add(id);
    this.chosen = { node: name };
    this.details.show(this.chosen);
    await this.redraw();
    for (const pane of this.panes) pane.show(this.chosen);
    if (scroll) document.querySelector(".toolbar").scrollIntoView();
  }

  toggle(id, from) {
    if (!this.open.delete(id)) this.open.add(id);
    if (this.chosen.fold === id) this.details.show(this.chosen);
    return this.redraw({ fold: id }, from);
  }

  async redraw(anchor, from) {
    const root = document.documentElement;
    delete root.dataset.drawn;
    const started = performance.now();
    const boxes = this.trees.flatMap((tree) => tree.view(this.open).boxes);
    this.largest = boxes.reduce((most, { fold, node }) => Math.max(most, (fold ?? node).macs ?? 0), 0);
    await Promise.all((this.panes ?? []).map((pane) => pane.draw(new Set(this.open), anchor)));
    if (from && anchor) {
      const box = from.find(anchor) ?? from.placed.boxes.find((each) => each.parent === anchor.fold);
      if (box) from.focus(box);
    }
    root.dataset.drawn = String(Math.round(performance.now() - started));
  }
}

document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
const data = JSON.parse(document.getElementById("report").textContent);
new Host(data).build(select(document.body)).then(() => {
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
});
