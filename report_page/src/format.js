// Numbers as people read them, as kerasurgeon.report.numbers writes them.

const scaled = (number, base, units) => {
  let value = number;
  let unit = 0;
  while (Math.abs(value) >= (base === 1024 ? base : 999.5) && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  if (!unit) return `${Number.isInteger(number) ? number : number.toPrecision(3)} ${units[0]}`.trim();
  const digits = Math.abs(value) < 9.995 ? 2 : Math.abs(value) < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`;
};

export const count = (number) => (number == null ? "?" : scaled(number, 1000, ["", "k", "M", "G", "T", "P"]));
export const bytes = (number) => (number == null ? "?" : scaled(number, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]));
export const percent = (part) => (part == null || !Number.isFinite(part) ? "-" : `${(100 * part).toFixed(1)} %`);
export const kept = (part) => (part >= 1.0005 ? `${percent(part - 1)} more` : `${percent(part)} kept`);
export const shape = (sizes) => (sizes.length ? sizes.map((size) => size ?? "?").join(" × ") : "scalar");

export const MEASURES = [
  { key: "macs", label: "MACs", show: count },
  { key: "parameters", label: "parameters", show: count },
  { key: "weight_bytes", label: "weights", show: bytes },
  { key: "activation_bytes", label: "output size", show: bytes },
];
export const TOTALS = [...MEASURES.slice(0, 3), { key: "peak_activation_bytes", label: "peak activations", show: bytes }];

export const STATUSES = [
  { key: "changed", sign: "~", label: "changed", says: "its weights, options or kind are others" },
  { key: "resized", sign: "↔", label: "resized", says: "only the size of its output differs" },
  { key: "new", sign: "+", label: "new", says: "was not there before" },
  { key: "gone", sign: "−", label: "gone", says: "is not there any more" },
  { key: "same", sign: "", label: "same", says: "as before" },
];
export const signOf = (status) => STATUSES.find((each) => each.key === status)?.sign ?? "";
