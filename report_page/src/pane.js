// One drawing: boxes, frames of open folds and edges, to be moved, zoomed, walked through with arrow keys.
import { select } from "d3-selection";
import { zoom, zoomIdentity, zoomTransform } from "d3-zoom";
import { signOf } from "./format.js";
import { BOX, caption, layout } from "./layout.js";

const SHRUNK = 0.55; // the least scale that a drawing opens with

export class Pane {
  constructor(parent, title, tree, host) {
    this.tree = tree;
    this.host = host;
    this.root = select(parent).append("section").attr("class", "pane").attr("aria-label", `Drawing: ${title}`);
    const head = this.root.append("header");
    head.append("h2").text(title);
    this.said = head.append("span").attr("class", "said").attr("aria-live", "polite");
    const buttons = head.append("span").attr("class", "buttons");
    const button = (text, label, act) =>
      buttons.append("button").attr("type", "button").attr("aria-label", label).attr("title", label).text(text).on("click", act);
    button("+", `Zoom in: ${title}`, () => this.svg.call(this.zoom.scaleBy, 1.4));
    button("−", `Zoom out: ${title}`, () => this.svg.call(this.zoom.scaleBy, 1 / 1.4));
    button("⤢", `All of it: ${title}`, () => this.fit(0));
    this.svg = this.root.append("svg").attr("role", "group").attr("aria-label", `Network ${title}`);
    const arrow = this.svg.append("defs").append("marker");
    this.arrow = `arrow-${title}`;
    arrow.attr("id", this.arrow).attr("viewBox", "0 0 8 8").attr("refX", 7).attr("refY", 4);
    arrow.attr("markerWidth", 6).attr("markerHeight", 6).attr("orient", "auto");
    arrow.append("path").attr("d", "M0,0L8,4L0,8z").attr("class", "head");
    this.canvas = this.svg.append("g");
    this.zoom = zoom()
      .scaleExtent([0.02, 3])
      .on("zoom", ({ transform }) => {
        this.canvas.attr("transform", transform);
        this.svg.classed("far", transform.k < 0.3);
      });
    this.svg.call(this.zoom).on("dblclick.zoom", null);
    this.round = 0;
  }

  // Draw what is seen with these folds open; the box that was looked at stays where it is.
  async draw(open, anchor) {
    const round = ++this.round;
    const before = anchor && this.at(anchor);
    this.said.text("placing…");
    const placed = await layout(this.tree.view(open)).catch((error) => {
      this.said.text(`this cannot be placed: ${error}`);
      throw error;
    });
    if (round !== this.round) return; // meanwhile something else was asked for
    this.placed = placed;
    this.open = open;
    this.render();
    const count = `${placed.boxes.length} of ${this.tree.drawing.nodes.length} shown`;
    this.said.text(placed.boxes.length === this.tree.drawing.nodes.length ? `${placed.boxes.length} layers` : count);
    if (before) this.hold(anchor, before);
    else this.fit(SHRUNK);
  }

  render() {
    const { boxes, frames, edges } = this.placed;
    const { host } = this;
    const line = (points) => `M${points.map(([x, y]) => `${round(x)},${round(y)}`).join("L")}`;
    this.canvas.selectAll("*").remove();
    const frame = this.canvas.append("g").selectAll("g").data(frames).join("g");
    frame.attr("class", "frame").attr("transform", ({ x, y }) => `translate(${round(x)},${round(y)})`);
    frame.append("rect").attr("class", "around").attr("rx", 8).attr("width", (d) => d.width).attr("height", (d) => d.height);
    const title = frame.append("g").attr("class", "title").attr("role", "button").attr("tabindex", -1);
    title.attr("aria-label", (d) => `Fold ${d.fold.label}`).on("click", (_, d) => host.toggle(d.fold.id));
    title.append("rect").attr("width", (d) => d.width).attr("height", 26).attr("rx", 8);
    title.append("text").attr("x", 12).attr("y", 18).text((d) => cut(`▾ ${d.fold.label}`, d.width - 16, 7.2));
    title.append("title").text((d) => d.fold.label);
    const edge = this.canvas.append("g").attr("fill", "none").selectAll("path").data(edges).join("path");
    edge.attr("class", "edge").attr("d", ({ points }) => line(points)).attr("marker-end", `url(#${this.arrow})`);
    this.edges = edge;
    const box = this.canvas.append("g").selectAll("g").data(boxes, (d) => d.key).join("g");
    box.attr("class", (d) => `box ${d.fold ? "fold" : "node"} ${(d.fold ?? d.node).status ?? "same"}`);
    box.attr("transform", ({ x, y }) => `translate(${round(x)},${round(y)})`);
    box.attr("role", "button").attr("tabindex", (_, place) => (place ? -1 : 0));
    box.attr("aria-label", label).attr("data-name", (d) => (d.fold ? d.fold.label : d.node.name));
    box.append("title").text((d) => `${d.fold ? d.fold.label : d.node.name}\n${caption(d)[1]}`);
    const back = box.filter((d) => d.fold).append("rect").attr("class", "back").attr("x", 4).attr("y", 4).attr("rx", 6);
    back.attr("width", (d) => d.width).attr("height", BOX.height);
    box.append("rect").attr("class", "body").attr("rx", 6).attr("width", (d) => d.width).attr("height", BOX.height);
    box.append("text").attr("class", "name").attr("x", 12).attr("y", 17);
    box.append("text").attr("class", "kind").attr("x", 12).attr("y", 31);
    box.select(".name").text((d) => cut((d.fold ? "▸ " : "") + caption(d)[0], d.width - 36, 7.2));
    box.select(".kind").text((d) => cut(caption(d)[1], d.width - 20, 6));
    box.append("text").attr("class", "sign").attr("x", (d) => d.width - 10).attr("y", 17).text((d) => signOf((d.fold ?? d.node).status));
    const cost = box.append("rect").attr("class", "cost").attr("x", 2).attr("y", BOX.height - 4).attr("height", 3);
    const total = Math.max(1, host.largest); // one scale for both drawings
    cost.attr("width", (d) => ((d.width - 4) * ((d.fold ?? d.node).macs ?? 0)) / total);
    box.on("click", (event, d) => {
      host.choose(d.fold ? { fold: d.fold.id } : { node: d.node.name }, this);
      if (d.fold) host.toggle(d.fold.id, this);
      event.stopPropagation();
    });
    box.on("keydown", (event, d) => this.key(event, d));
    this.boxes = box;
    this.places = new Map(boxes.map((d) => [d.key, d]));
    this.highlight();
  }

  // What is chosen and what was searched for, on the boxes that are there.
  highlight() {
    if (!this.boxes) return;
    const { chosen, hits } = this.host;
    const is = (d) => (d.fold ? chosen.fold === d.fold.id : chosen.node === d.node.name);
    this.boxes.classed("chosen", is);
    this.boxes.classed("hit", (d) => hits && (d.fold ? d.fold.nodes.some((node) => hits.has(node.name)) : hits.has(d.node.name)));
    this.boxes.classed("miss", (d) => hits && !(d.fold ? d.fold.nodes.some((node) => hits.has(node.name)) : hits.has(d.node.name)));
    const keys = new Set(this.placed.boxes.filter(is).map((d) => d.key));
    this.edges.classed("near", (d) => keys.has(d.from) || keys.has(d.to));
  }

  key(event, box) {
    const order = this.placed.boxes;
    const place = order.findIndex((each) => each.key === box.key);
    const next = { ArrowDown: place + 1, ArrowRight: place + 1, ArrowUp: place - 1, ArrowLeft: place - 1, Home: 0, End: order.length - 1 }[event.key];
    if (next !== undefined) {
      const target = order[Math.min(order.length - 1, Math.max(0, next))];
      this.focus(target);
    } else if (event.key === "Enter" || event.key === " ") {
      this.host.choose(box.fold ? { fold: box.fold.id } : { node: box.node.name }, this);
      if (box.fold) this.host.toggle(box.fold.id, this);
    } else if (event.key === "Backspace" || event.key === "Escape") {
      if (box.parent) this.host.toggle(box.parent, this);
    } else return;
    event.preventDefault();
  }

  focus(box) {
    this.boxes.attr("tabindex", (d) => (d.key === box.key ? 0 : -1));
    this.boxes.filter((d) => d.key === box.key).node()?.focus({ preventScroll: true });
    this.center(box);
  }

  // The box in which something is seen now.
  find({ node, fold }) {
    if (!this.placed) return undefined;
    const one = this.placed.boxes.find((box) => (fold ? box.fold?.id === fold : box.node?.name === node));
    if (one) return one;
    const around = fold ? null : this.tree.nodes.get(node);
    return around ? this.placed.boxes.find((box) => box.fold?.nodes.includes(around)) : undefined;
  }

  at(target) {
    const box = this.find(target) ?? this.placed?.frames.find((frame) => frame.fold.id === target.fold);
    if (!box) return null;
    const { x, y, k } = zoomTransform(this.svg.node());
    return [x + k * box.x, y + k * box.y];
  }

  hold(target, [left, top]) {
    const box = this.find(target) ?? this.placed.frames.find((frame) => frame.fold.id === target.fold);
    if (!box) return;
    const { k } = zoomTransform(this.svg.node());
    this.svg.call(this.zoom.transform, zoomIdentity.translate(left - k * box.x, top - k * box.y).scale(k));
  }

  show(target) {
    const box = this.find(target);
    if (box) this.center(box, true);
  }

  center(box, readable = false) {
    const { width, height } = this.size();
    const { x, y, k: now } = zoomTransform(this.svg.node());
    const k = readable ? Math.max(now, 0.7) : now;
    const [left, top] = [x + k * box.x, y + k * box.y];
    const inside = k === now && left > 8 && top > 8 && left + k * box.width < width - 8 && top + k * box.height < height - 8;
    if (inside && !readable) return;
    const middle = [width / 2 - k * (box.x + box.width / 2), height / 2 - k * (box.y + box.height / 2)];
    this.svg.call(this.zoom.transform, zoomIdentity.translate(...middle).scale(k));
  }

  size() {
    const { clientWidth, clientHeight } = this.svg.node();
    return { width: clientWidth || 600, height: clientHeight || 500 };
  }

  // All of it, but not smaller than `least`: then from its top on.
  fit(least) {
    if (!this.placed) return;
    const { width, height } = this.size();
    const both = Math.min((width - 24) / this.placed.width, (height - 24) / this.placed.height, 1);
    const across = Math.min((width - 24) / this.placed.width, 1);
    const k = least && both < least ? Math.max(Math.min(across, 1), Math.min(least, 0.4)) : both;
    const x = (width - k * this.placed.width) / 2;
    const first = this.placed.boxes[0];
    const left = k * this.placed.width > width && first ? width / 2 - k * (first.x + first.width / 2) : x;
    this.svg.call(this.zoom.transform, zoomIdentity.translate(left, k < both || least ? 12 : (height - k * this.placed.height) / 2).scale(k));
  }
}

const round = (number) => Math.round(number * 10) / 10;
const cut = (text, width, each) => {
  const most = Math.max(4, Math.floor(width / each));
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, Math.ceil(most * 0.6)).join("")}…${letters.slice(letters.length - Math.floor(most * 0.4) + 1).join("")}`;
};
const label = (d) =>
  d.fold
    ? `${d.fold.label}, ${d.fold.nodes.length} layers, folded${d.fold.status ? `, ${d.fold.status}` : ""}`
    : `${d.node.name}, ${d.node.kind}${d.node.status ? `, ${d.node.status}` : ""}`;
