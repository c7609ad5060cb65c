// Bundles the page's script and style with the libraries that draw it into kerasurgeon/report/page.js.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "kerasurgeon", "report");
const banner = "Page of kerasurgeon's reports, Apache-2.0. Libraries in it and their licences: page.NOTICE.txt.";

const { outputFiles, metafile } = await build({
  entryPoints: [join(here, "src", "main.js")],
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  charset: "ascii",
  format: "iife",
  target: "es2020",
  legalComments: "none", // all of them stand in the notice
  banner: { js: `/* ${banner} */` },
  outdir: here,
  plugins: [
    {
      // The layout runs in a worker, which is started from its own text: a page has no other file to name.
      name: "text-of-the-worker",
      setup(bundler) {
        bundler.onLoad({ filter: /elk-worker\.min\.js$/ }, ({ path }) => ({
          contents: readFileSync(path, "utf8"),
          loader: "text",
        }));
      },
    },
  ],
  loader: { ".css": "text" },
});

const packages = new Set(
  Object.keys(metafile.inputs).map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean),
);
const notices = [...packages].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license, homepage, repository } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const source = (repository?.url ?? repository ?? homepage).replace(/^git\+/, "").replace(/\.git$/, "");
  const file = ["LICENSE", "LICENSE.md"].find((each) => {
    try {
      return readFileSync(join(folder, each));
    } catch {
      return false;
    }
  });
  const text = readFileSync(join(folder, file), "utf8").trim();
  return `${"=".repeat(78)}\n${name} ${version}: ${license}\nSource: ${source}\n${"=".repeat(78)}\n\n${text}\n`;
});

const js = outputFiles[0].text;
if (/<\/script/i.test(js)) throw new Error("the bundle holds </script, which would end the element it stands in");
if (/[^\x00-\x7f]/.test(js)) throw new Error("the bundle is not ASCII");
writeFileSync(join(target, "page.js"), js);
writeFileSync(
  join(target, "page.NOTICE.txt"),
  `page.js holds these libraries, as they are published in the npm registry, minified.\n\n${notices.join("\n")}`,
);
console.log(`page.js: ${js.length} bytes; ${[...packages].sort().join(", ")}`);
