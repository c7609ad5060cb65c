// What is seen of a drawing while some folds are open and the others closed.

const JOIN = "\u001f";

export class Tree {
  constructor(drawing) {
    this.drawing = drawing;
    this.nodes = new Map(drawing.nodes.map((node) => [node.name, node]));
    this.folds = new Map();
    for (const node of drawing.nodes) {
      node.path = node.folds.map((_, depth) => node.folds.slice(0, depth + 1).join(JOIN));
      node.path.forEach((id, depth) => {
        if (!this.folds.has(id)) {
          this.folds.set(id, { id, label: node.folds[depth], parent: node.path[depth - 1] ?? null, nodes: [] });
        }
        this.folds.get(id).nodes.push(node);
      });
    }
    // What a fold gives is what its last node gives that is read outside of it.
    for (const [from, to] of drawing.edges) {
      const reader = new Set(drawing.nodes[to].path);
      for (const id of drawing.nodes[from].path) {
        if (!reader.has(id)) this.folds.get(id).exit = Math.max(from, this.folds.get(id).exit ?? 0);
      }
    }
    for (const fold of this.folds.values()) summarise(fold, drawing.nodes[fold.exit] ?? fold.nodes.at(-1));
  }

  // Boxes in the order of the network, each with the open fold around it, and edges between boxes.
  view(open) {
    const boxes = new Map();
    const frames = new Map();
    const at = this.drawing.nodes.map((node) => {
      const closed = node.path.find((id) => !open.has(id));
      const key = closed === undefined ? `n${JOIN}${node.name}` : `f${JOIN}${closed}`;
      if (!boxes.has(key)) {
        const fold = closed === undefined ? null : this.folds.get(closed);
        const parents = fold ? node.path.slice(0, node.path.indexOf(closed)) : node.path;
        boxes.set(key, { key, node: fold ? null : node, fold, path: parents, parent: parents.at(-1) ?? null });
        for (const id of parents) frames.set(id, this.folds.get(id));
      }
      return key;
    });
    const edges = new Map();
    for (const [from, to] of this.drawing.edges) {
      if (at[from] !== at[to]) edges.set(`${at[from]}${JOIN}${JOIN}${at[to]}`, [at[from], at[to]]);
    }
    return { boxes: [...boxes.values()], frames: [...frames.values()], edges: [...edges.values()] };
  }
}

function summarise(fold, exit) {
  const statuses = {};
  for (const node of fold.nodes) if (node.status) statuses[node.status] = (statuses[node.status] ?? 0) + 1;
  const most = ["changed", "new", "gone", "resized"].filter((each) => statuses[each]);
  fold.statuses = statuses;
  fold.status = !Object.keys(statuses).length
    ? undefined
    : most.length === 1 && statuses[most[0]] === fold.nodes.length
      ? most[0]
      : most.length
        ? most[0] === "resized"
          ? "resized"
          : "changed"
        : "same";
  fold.shape = exit.shape;
  for (const key of ["macs", "parameters", "weight_bytes", "activation_bytes"]) {
    fold[key] = fold.nodes.reduce((sum, node) => sum + (node[key] ?? 0), 0);
  }
}
