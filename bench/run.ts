/**
 * npm run bench [-- --only NAME]... [--rounds N] [--json]
 *
 * --only takes the beginning of a case's name. Ratios, measured side by side in one run: time of the other / our time, so that above 1 ours is faster. Exit status: 0
 * measured, 2 it could not run or two contenders disagree on a result.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { benchCases } from "./cases.js";
import { type CaseResult, type Comparison, runCase } from "./harness.js";
import { startNativePeers } from "./native.js";

/** This file runs as build/bench/bench/run.js. */
const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const DEFAULT_ROUNDS = 121;

function digits(ratio: number): string {
  return ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(0);
}

function cell(comparison: Comparison | undefined): string {
  if (!comparison) return "";
  const { ratio, ratioOfBest, target } = comparison;
  const quartiles = `${digits(ratio.median)} (${digits(ratio.lower)}–${digits(ratio.upper)}; ${digits(ratioOfBest)})`;
  if (target === undefined) return quartiles;
  return `${quartiles} ${ratio.median >= target ? "≥" : "below"} ${Number(target.toFixed(2))}`;
}

function print(results: readonly CaseResult[]): void {
  const labels = [...new Set(results.flatMap((result) => result.comparisons.map(({ label }) => label)))];
  const table = new Table({
    head: ["case", ...labels.map((label) => `${label} / ours`), "spread"],
    style: { head: [], border: [], compact: true },
  });
  for (const { name, comparisons, spread } of results) {
    const cells = labels.map((label) => cell(comparisons.find((comparison) => comparison.label === label)));
    table.push([name, ...cells, `${(spread * 100).toFixed(0)} %`]);
  }
  process.stdout.write(`${table}\n`);
  for (const { name, title } of results) process.stdout.write(`  ${name}: ${title}\n`);
  process.stdout.write(
    "Ratios of times in the same round: median (quartiles; ratio of the least times), target. Above 1 ours is faster.\n" +
      "C: a plain loop, the better of -O2 and -O3. Spread: interquartile range of our own times over their median.\n",
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true },
      rounds: { type: "string", default: String(DEFAULT_ROUNDS) },
      json: { type: "boolean", default: false },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds ${values.rounds}: not a positive number`);
  const module = new WebAssembly.Module(readFileSync(path.join(ROOT, "build/iommu.wasm")));
  const all = benchCases(module);
  const only = values.only;
  const chosen = only ? all.filter(({ name }) => only.some((wanted) => name.startsWith(wanted))) : all;
  if (chosen.length === 0) {
    throw new Error(`--only ${only?.join(", ")}: the cases are ${all.map(({ name }) => name).join(", ")}`);
  }

  const peers = startNativePeers(path.join(ROOT, "bench/peers"), path.join(ROOT, "build/peers"));
  try {
    const results: CaseResult[] = [];
    for (const [i, bench] of chosen.entries()) {
      process.stderr.write(`[${i + 1}/${chosen.length}] ${bench.name}: ${bench.title}\n`);
      results.push(await runCase(bench, peers, rounds));
    }
    if (values.json) {
      const { version } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as { version: string };
      const document = { command: "bench", version, rounds, cases: results };
      process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    } else {
      print(results);
    }
  } finally {
    for (const peer of peers) peer.close();
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
});
