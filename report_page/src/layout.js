// Places of boxes and edges, by ELK's layered algorithm, in a worker so that the page stays alive meanwhile.
import ELK from "elkjs/lib/elk-api.js";
import workerText from "elkjs/lib/elk-worker.min.js";
import { shape } from "./format.js";

const WORKER_FROM = 60; // boxes; fewer are placed faster than a worker starts

let inPage;
let inWorker;

function pageElk() {
  inPage ??= new ELK({
    workerFactory: () => {
      const module = { exports: {} };
      new Function("module", "exports", workerText)(module, module.exports);
      return new module.exports.Worker();
    },
  });
  return inPage;
}

function workerElk() {
  try {
    inWorker ??= new ELK({
      workerFactory: () => new Worker(URL.createObjectURL(new Blob([workerText], { type: "text/javascript" }))),
    });
  } catch {
    return pageElk(); // some places where pages are shown allow no workers
  }
  return inWorker;
}

export const BOX = { height: 40, least: 132, most: 264 };

export const caption = (box) => {
  const item = box.fold ?? box.node;
  const name = box.fold ? box.fold.label : lastPart(box.node);
  const kind = box.fold ? `${box.fold.nodes.length} layers` : box.node.kind;
  return [name, `${kind} · ${shape(item.shape)}`];
};

function lastPart(node) {
  const scope = node.name.lastIndexOf("/");
  return scope < 0 ? node.name : node.name.slice(scope + 1);
}

const width = (box) => {
  const [name, kind] = caption(box);
  return Math.min(BOX.most, Math.max(BOX.least, 7.7 * name.length + 44, 6 * kind.length + 26));
};

const OPTIONS = {
  "elk.algorithm": "layered",
  "elk.direction": "DOWN",
  "elk.hierarchyHandling": "INCLUDE_CHILDREN",
  "elk.layered.spacing.nodeNodeBetweenLayers": "26",
  "elk.spacing.nodeNode": "22",
  "elk.spacing.edgeNode": "14",
  "elk.layered.considerModelOrder.strategy": "NODES_AND_EDGES",
  "elk.layered.nodePlacement.strategy": "BRANDES_KOEPF",
  "elk.layered.nodePlacement.bk.fixedAlignment": "BALANCED",
};

export async function layout(view) {
  const made = new Map();
  const root = { id: "root", layoutOptions: { ...OPTIONS }, children: [], edges: [] };
  if (view.boxes.length > 400) root.layoutOptions["elk.layered.thoroughness"] = "2";
  for (const frame of view.frames) {
    made.set(frame.id, {
      id: `frame:${frame.id}`,
      frame,
      children: [],
      edges: [],
      layoutOptions: { ...OPTIONS, "elk.padding": "[top=34,left=14,bottom=14,right=14]" },
    });
  }
  for (const frame of view.frames) (made.get(frame.parent) ?? root).children.push(made.get(frame.id));
  for (const box of view.boxes) {
    (made.get(box.parent) ?? root).children.push({ id: box.key, box, width: width(box), height: BOX.height });
  }
  view.edges.forEach(([from, to], number) => root.edges.push({ id: `e${number}`, sources: [from], targets: [to] }));
  const plain = JSON.parse(JSON.stringify(root, (key, value) => (key === "box" || key === "frame" ? undefined : value)));
  const elk = view.boxes.length > WORKER_FROM ? workerElk() : pageElk();
  const placed = await elk.layout(plain);
  return gather(placed, view);
}

// Everything in coordinates of the whole drawing.
function gather(placed, view) {
  const boxes = new Map(view.boxes.map((box) => [box.key, box]));
  const frames = new Map(view.frames.map((frame) => [`frame:${frame.id}`, frame]));
  const origins = new Map([["root", [0, 0]]]);
  const found = { width: placed.width, height: placed.height, boxes: [], frames: [], edges: [] };
  const walk = (parent, x0, y0) => {
    for (const child of parent.children ?? []) {
      const place = { x: x0 + child.x, y: y0 + child.y, width: child.width, height: child.height };
      origins.set(child.id, [place.x, place.y]);
      if (boxes.has(child.id)) found.boxes.push({ ...boxes.get(child.id), ...place });
      else found.frames.push({ fold: frames.get(child.id), ...place });
      walk(child, place.x, place.y);
    }
  };
  walk(placed, 0, 0);
  const all = (parent) => [...(parent.edges ?? []), ...(parent.children ?? []).flatMap(all)];
  for (const edge of all(placed)) {
    const [x0, y0] = origins.get(edge.container) ?? [0, 0];
    for (const { startPoint, bendPoints = [], endPoint } of edge.sections ?? []) {
      const points = [startPoint, ...bendPoints, endPoint].map(({ x, y }) => [x0 + x, y0 + y]);
      found.edges.push({ from: edge.sources[0], to: edge.targets[0], points });
    }
  }
  const order = new Map(view.boxes.map((box, place) => [box.key, place]));
  found.boxes.sort((one, other) => order.get(one.key) - order.get(other.key));
  return found;
}
