/** The browser's entry reaches no module of Node, and offers what the entry for Node does. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

/** Every module that is loaded with this one; imports of types only are gone when the code runs. */
function moduleGraph(entry: URL, seen = new Map<string, string[]>()): Map<string, string[]> {
  if (seen.has(entry.href)) return seen;
  const source = readFileSync(entry, "utf8");
  const statements = source.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^"';]*?\sfrom\s+)?"([^"]+)";/gm);
  const dynamic = source.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g);
  const specifiers = [...statements, ...dynamic].map((match) => match[1]);
  seen.set(entry.href, specifiers);
  for (const specifier of specifiers) {
    if (specifier.startsWith(".")) moduleGraph(new URL(specifier.replace(/\.js$/, ".ts"), entry), seen);
  }
  return seen;
}

const browser = moduleGraph(new URL("../../src/index.browser.ts", import.meta.url));
const node = moduleGraph(new URL("../../src/index.ts", import.meta.url));
const outside = (graph: Map<string, string[]>): string[] =>
  [...graph.values()].flat().filter((name) => !name.startsWith("."));

test("no import of node: or of any package", () => {
  expect([...browser.keys()].some((url) => url.endsWith("/engine/load.browser.ts"))).toBe(true);
  expect([...browser.keys()].some((url) => url.endsWith("/engine/page-table.ts"))).toBe(true);
  expect(outside(browser)).toEqual([]);
});

test("the walk over imports does find them: the entry for Node reaches node:fs/promises", () => {
  expect(outside(node)).toContain("node:fs/promises");
});

test("no module of the browser's graph uses Node's globals", () => {
  for (const url of browser.keys()) {
    const code = readFileSync(new URL(url), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    expect(code, url).not.toMatch(/\b(?:process|Buffer|require|__dirname)\s*[.([]/);
  }
});

test("both entries export the same names", async () => {
  const forNode = await import("../../src/index.js");
  const forBrowser = await import("../../src/index.browser.js");
  expect(Object.keys(forBrowser).sort()).toEqual(Object.keys(forNode).sort());
});
