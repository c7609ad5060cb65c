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
};
const PADDING = { "elk.padding": "[top=34,left=14,bottom=14,right=14]" };

// Of many boxes only the outermost frames are drawn, and places are found by quicker ways: seconds instead of minutes.
const MANY = 400;
const QUICK = { "elk.layered.thoroughness": "1", "elk.layered.nodePlacement.strategy": "SIMPLE" };

export async function layout(view) {
  const many = view.boxes.length > MANY;
  const elk = view.boxes.length > WORKER_FROM ? workerElk() : pageElk();
  const options = many ? { ...OPTIONS, ...QUICK } : OPTIONS;
  const frames = many ? view.frames.filter((frame) => !frame.parent) : view.frames;
  try {
    return gather(await elk.layout(asked(view, frames, options)), view);
  } catch {
    return gather(await elk.layout(asked(view, [], options)), view); // frames are what it may stumble over
  }
}

// The graph that ELK is given: frames that are left out give what is in them to the ones around them.
function asked(view, frames, options) {
  const root = { id: "root", layoutOptions: options, children: [], edges: [] };
  const made = new Map(frames.map(({ id }) => [id, { id: `frame:${id}`, children: [], layoutOptions: { ...options, ...PADDING } }]));
  const around = (path) => made.get([...path].reverse().find((id) => made.has(id))) ?? root;
  for (const frame of frames) (made.get(frame.parent) ?? root).children.push(made.get(frame.id));
  for (const box of view.boxes) around(box.path).children.push({ id: box.key, width: width(box), height: BOX.height });
  view.edges.forEach(([from, to], number) => root.edges.push({ id: `e${number}`, sources: [from], targets: [to] }));
  return root;
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
