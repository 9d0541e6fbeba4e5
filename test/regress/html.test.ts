import { describe, expect, it } from "vitest";
import { compareRuns } from "../../src/regress/compare.js";
import { regressionHtml } from "../../src/regress/html.js";
import { wallFigures } from "../../src/regress/wall.js";
import { PROVENANCE } from "../report/support.js";
import { baselineOf, caseRun } from "./support.js";

const SUITE = "iommu-lab.suite.json";

const headings = (text: string): string[] => [...text.matchAll(/<h[12]>(.*?)<\/h[12]>/g)].map(([, title]) => title);

/** The rows of the table under a heading, a list of cells each. */
function rowsUnder(text: string, title: string): string[][] {
  const [, after] = text.split(`<h2>${title}</h2>`);
  const body = /<tbody>(.*?)<\/tbody>/s.exec(after)?.[1] ?? "";
  return [...body.matchAll(/<tr>(.*?)<\/tr>/gs)].map(([, row]) =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/g)].map(([, cell]) => cell),
  );
}

describe("the report of a regression run", () => {
  const chapter = (name: string) => `<article id="case-${name}"><h2>${name}</h2></article>`;
  const before = baselineOf([caseRun("a", { "linux.spanPeak": 100, "linux.failed": 0 }), caseRun("gone", {})]);
  const runs = [
    { ...caseRun("a", { "linux.spanPeak": 103, "linux.failed": 0 }), chapter: chapter("a") },
    { ...caseRun("fresh", { "linux.failed": 0 }), chapter: chapter("fresh") },
  ];

  it("begins with what differs, then has every case, and at the end how it was made", () => {
    const text = regressionHtml(SUITE, runs, compareRuns(SUITE, before, runs, []), PROVENANCE);
    expect(headings(text)).toEqual([
      "1 of 2 figures differ, in 1 of 1 case; 1 case not in the baseline; 1 case of the baseline not in the suite.",
      ...["Differences", "Cases", "a", "fresh", "How this was made"],
    ]);
    expect(rowsUnder(text, "Differences")).toEqual([["a/linux.spanPeak", "100", "103", "+3 %", ""]]);
    expect(rowsUnder(text, "Cases")).toEqual([
      ['<a href="#case-a">a</a>', "2", "1 different"],
      ['<a href="#case-fresh">fresh</a>', "1", "not in the baseline"],
      ["gone", "none", "not in the suite"],
    ]);
  });

  it("without a baseline says how much was counted", () => {
    const text = regressionHtml(SUITE, runs, null, PROVENANCE);
    expect(headings(text)).toEqual(["3 figures of 2 cases.", "Cases", "a", "fresh", "How this was made"]);
  });

  it("shows the first of very many differences, and has all of them as data", async () => {
    const counters = (value: number) =>
      Object.fromEntries(Array.from({ length: 310 }, (_, index) => [`linux.figure${index}`, value]));
    const many = [caseRun("a", counters(1))];
    const regression = compareRuns(SUITE, baselineOf([caseRun("a", counters(0))]), many, []);
    const text = regressionHtml(SUITE, many, regression, PROVENANCE);
    expect(rowsUnder(text, "Differences").length).toBe(300);
    expect(text).toContain("and 10 more, which are in the data");
    const url = /download="differences\.csv" href="([^"]*)"/.exec(text)?.[1] ?? "";
    const csv = await (await fetch(url)).text();
    expect(csv.split("\n").slice(0, 2)).toEqual([
      "case,counter,kind,before,after,changePercent,allowed",
      "a,linux.figure0,changed,0,1,,",
    ]);
    expect(csv.trimEnd().split("\n").length).toBe(311);
  });

  it("escapes what a file may have for names", () => {
    const evil = "<script>'\"&";
    const bad = [caseRun("a", { [evil]: 1 })];
    const regression = compareRuns(evil, { ...baselineOf([caseRun("a", { [evil]: 2 })]), file: evil }, bad, []);
    expect(regressionHtml(evil, bad, regression, PROVENANCE)).not.toContain("<script");
  });

  it("has wall-clock figures where they were compared", () => {
    const wall = wallFigures({ runs: Array(8).fill(2), references: Array(8).fill(1) });
    const timed = [caseRun("a", {}, wall)];
    const text = regressionHtml(SUITE, timed, compareRuns(SUITE, baselineOf(timed), timed, []), PROVENANCE);
    expect(rowsUnder(text, "Wall clock")).toEqual([["a", "2.00", "2.00", "0 %", "0 %", "±0.0, ±0.0 %", "same"]]);
  });
});
