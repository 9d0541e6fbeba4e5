/** The report of a real trace as a browser shows it. */
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { comparisonHtml } from "../../src/report/html/comparison.js";
import { bytes, significant } from "../../src/report/units.js";
import { run } from "../cli/run.js";
import { PROVENANCE, recordedComparison, reported, VFIO } from "./support.js";

/** Debian's. */
const CHROMIUM = "/usr/bin/chromium";
const TIMEOUT = 60_000;

/** The worst that a file can be called. */
const TRACE = "<script src=x onerror=alert(1)>'&quot;.trace.gz";

interface Figures {
  readonly name: string;
  readonly leavesMean: number;
  readonly tableBytesPeak: number;
  readonly tidiness: number;
  readonly spanPeak: number;
  readonly leaves: readonly {
    readonly size: number;
    readonly mean: number;
    readonly peak: number;
    readonly atEnd: number;
  }[];
}

/** Rows of a CSV without quotes. */
const parse = (csv: string): string[][] =>
  csv
    .trimEnd()
    .split("\n")
    .map((row) => row.split(","));

/** The figure with this title. */
const figure = (page: Page, title: string, within: Page | Locator = page) =>
  within.locator("figure").filter({ has: page.getByRole("heading", { name: title, exact: true }) });

/** Texts of a drawing, and what of it has a size, as it is on the screen. */
async function drawn(page: Page, title: string, within?: Locator) {
  return figure(page, title, within)
    .locator(":scope > svg")
    .evaluate((svg: SVGSVGElement) => ({
      texts: [...svg.querySelectorAll("text")].map((text) => text.textContent),
      marks: [...svg.querySelectorAll("path")].map((path) => {
        const { width, height } = path.getBBox();
        return { fill: path.getAttribute("fill"), stroke: path.getAttribute("stroke"), width, height };
      }),
    }));
}

describe.skipIf(!existsSync(CHROMIUM))(`a report in ${CHROMIUM} (skipped where there is none)`, () => {
  let directory: string;
  let browser: Browser;
  let file: string;
  let json: string;
  let strategies: readonly Figures[];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "iommu-lab-"));
    const trace = join(directory, TRACE);
    await copyFile(VFIO, trace);
    file = join(directory, "report.html");
    const finished = await run(["compare", trace, "--json", "--html", file]);
    expect([finished.status, finished.stderr]).toEqual([0, ""]);
    json = finished.stdout;
    strategies = (JSON.parse(json) as { strategies: Figures[] }).strategies;
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  }, TIMEOUT);

  afterAll(async () => {
    await browser?.close();
    await rm(directory, { recursive: true });
  });

  /** Opens a file and returns what it did that it should not. */
  async function open(path: string, options: Parameters<Browser["newPage"]>[0] = {}) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
    const faults: string[] = [];
    page.on("console", (message) => faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("dialog", (dialog) => faults.push(dialog.message()));
    page.on("request", (request) => {
      if (request.url() !== pathToFileURL(path).href) faults.push(request.url());
    });
    await page.goto(pathToFileURL(path).href);
    return { page, faults };
  }

  it("loads nothing, runs nothing, and says first what came out", { timeout: TIMEOUT }, async () => {
    const { page, faults } = await open(file);
    expect(await page.locator("h1").innerText()).toBe(
      (JSON.parse(json) as { best: { sentence: string } }).best.sentence,
    );
    expect(await page.locator(".subject").innerText()).toContain(TRACE);
    expect(await page.locator("pre").innerText()).toContain("iommu-lab compare '");
    expect(await page.locator("script").count()).toBe(0);
    expect(faults).toEqual([]);
  });

  it.each([
    ["Table memory", (figures: Figures) => figures.tableBytesPeak, bytes],
    ["Tidiness of the IOMMU", (figures: Figures) => figures.tidiness, (value: number) => value.toFixed(3)],
  ])("%s: a bar as long as each figure, and the figure", { timeout: TIMEOUT }, async (title, value, label) => {
    const { page } = await open(file);
    const { texts, marks } = await drawn(page, title);
    const bars = marks.filter(({ fill }) => fill === "var(--series-1)");
    expect(bars.length).toBe(strategies.length);
    const widest = Math.max(...bars.map(({ width }) => width));
    const most = Math.max(...strategies.map(value));
    strategies.forEach((figures, index) => {
      expect(bars[index].width / widest).toBeCloseTo(value(figures) / most, 1);
      expect(bars[index].height).toBeGreaterThan(10);
      expect(texts).toEqual(expect.arrayContaining([figures.name, label(value(figures))]));
    });
  });

  it("leaves by size are stacked: a bar for each size, all together as long as the sum", {
    timeout: TIMEOUT,
  }, async () => {
    const { page } = await open(file);
    const { texts, marks } = await drawn(page, "Leaves by size");
    const width = (row: number): number =>
      [1, 2, 3].reduce((sum, leaf) => {
        const bars = marks.filter(({ fill }) => fill === `var(--leaf-${leaf})`);
        expect(bars.length).toBe(strategies.length);
        return sum + bars[row].width;
      }, 0);
    const most = Math.max(...strategies.map(({ leavesMean }) => leavesMean));
    const widest = Math.max(...strategies.map((_, row) => width(row)));
    strategies.forEach(({ leavesMean }, row) => {
      expect(width(row) / widest).toBeCloseTo(leavesMean / most, 1);
      expect(texts).toContain(significant(leavesMean));
    });
    expect(await figure(page, "Leaves by size").locator(".legend").innerText()).toMatch(/4K\s+2M\s+1G/);
  });

  it("draws the IOVA space over time, and maps of it for the fullest domains and every strategy", {
    timeout: TIMEOUT,
  }, async () => {
    const { page } = await open(file);
    const { marks } = await drawn(page, "IOVA space over time");
    const lines = marks.filter(({ stroke, width }) => stroke?.startsWith("var(--series-") && width > 100);
    expect(lines.length).toBeGreaterThan(5);
    const domains = page.locator("section").filter({ has: page.locator(":scope > h3") });
    expect(await domains.locator(":scope > h3").allInnerTexts()).toEqual([
      "Domain unnamed, 1.88 GiB mapped",
      "Domain 0000:02:00.0, 1.01 MiB mapped",
      "Domain 0000:00:09.0, 512 KiB mapped",
    ]);
    expect(await page.getByText(/^What was mapped, by domain, after/).innerText()).toMatch(
      / Nothing was mapped then in 3 more\.$/,
    );
    for (const domain of await domains.all()) {
      for (const { name } of strategies) {
        const map = await drawn(page, name, domain);
        const mapped = map.marks.filter(({ fill }) => fill?.startsWith("var(--leaf-"));
        expect(mapped.length).toBeGreaterThan(0);
        for (const mark of mapped) expect(Math.min(mark.width, mark.height)).toBeGreaterThan(0);
        expect(map.texts.every((text) => /^0x[0-9a-f]+$|^··· hole of [\d.]+ \w+ ···$/.test(text ?? ""))).toBe(true);
      }
    }
  });

  it("can be read aloud: headings that skip no level, charts in words, every header with its scope", {
    timeout: TIMEOUT,
  }, async () => {
    const { page } = await open(file);
    const levels = await page.locator("h1, h2, h3, h4, h5").evaluateAll((all) => all.map(({ tagName }) => +tagName[1]));
    expect(levels.filter((level) => level === 1)).toHaveLength(1);
    levels.forEach((level, index) => {
      expect(level).toBeLessThanOrEqual(index === 0 ? 1 : levels[index - 1] + 1);
    });
    const charts = await page
      .locator("figure")
      .getByRole("img")
      .evaluateAll((all) => all.map((svg) => ({ svg: svg.tagName, words: svg.getAttribute("aria-label") ?? "" })));
    expect(charts).toHaveLength(await page.locator("figure").count());
    for (const { svg, words } of charts) expect([svg, words.length > 10]).toEqual(["svg", true]);
    const words = await figure(page, "Table memory").getByRole("img").getAttribute("aria-label");
    expect(words?.split("; ")).toEqual(
      strategies.map(({ name, tableBytesPeak }) => `${name}: ${bytes(tableBytesPeak)}`),
    );
    expect(await page.locator("th:not([scope])").count()).toBe(0);
    expect(await page.locator("th").filter({ hasText: /^$/ }).count()).toBe(0);
  });

  it.each(["comparison.json", "iova-space.csv", "map-unnamed-identity.json"])(
    "%s is downloaded",
    { timeout: TIMEOUT },
    async (name) => {
      const { page, faults } = await open(file);
      const link = page.locator(`a[download="${name}"]`);
      const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
      expect(download.suggestedFilename()).toBe(name);
      const path = join(directory, name);
      await download.saveAs(path);
      const url = await link.getAttribute("href");
      expect(await readFile(path, "utf8")).toBe(await (await fetch(url ?? "")).text());
      expect(faults).toEqual([]);
    },
  );

  it("the downloads hold the figures", { timeout: TIMEOUT }, async () => {
    const { page } = await open(file);
    const contents = new Map<string, string>();
    for (const link of await page.locator("a[download]").all()) {
      const name = (await link.getAttribute("download")) ?? "";
      expect(contents.has(name)).toBe(false);
      contents.set(name, await (await fetch((await link.getAttribute("href")) ?? "")).text());
    }
    expect(await page.locator("figure").count()).toBe(5 + 3 * strategies.length);
    expect(contents.size).toBe(2 * (5 + 3 * strategies.length) + 1);
    expect(contents.get("comparison.json")).toBe(json);
    const csv = (name: string): string[][] => parse(contents.get(`${name}.csv`) ?? "");
    for (const name of [...contents.keys()].filter((key) => key.endsWith(".csv"))) {
      const { columns, rows } = JSON.parse(contents.get(name.replace(/csv$/, "json")) ?? "") as {
        columns: string[];
        rows: (string | number | null)[][];
      };
      expect(parse(contents.get(name) ?? "")).toEqual([columns, ...rows.map((row) => row.map(String))]);
    }
    expect(csv("table-memory")).toEqual([
      ["strategy", "tableBytesPeak"],
      ...strategies.map(({ name, tableBytesPeak }) => [name, String(tableBytesPeak)]),
    ]);
    expect(csv("leaves-by-size")).toEqual([
      ["strategy", "leafSize", "mean", "peak", "atEnd"],
      ...strategies.flatMap(({ name, leaves }) =>
        leaves.map(({ size, mean, peak, atEnd }) => [name, size, mean, peak, atEnd].map(String)),
      ),
    ]);
    const [head, ...stretches] = csv("iova-space");
    for (const { name, spanPeak } of strategies) {
      expect(Math.max(...stretches.map((row) => Number(row[head.indexOf(name)])))).toBe(spanPeak);
    }
    expect(csv("map-unnamed-pa-congruent")[0]).toEqual(["iova", "bytes", "leafSize", "mappedBytes"]);
  });

  it("is read without JavaScript all the same", { timeout: TIMEOUT }, async () => {
    const { page } = await open(file, { javaScriptEnabled: false });
    expect(await page.getByRole("row").count()).toBe(1 + strategies.length);
    expect(await figure(page, "Table memory").getByText("124 KiB").isVisible()).toBe(true);
  });

  describe.each([
    ["a phone", 390],
    ["a desk", 1280],
  ])("on %s", (_, width) => {
    it("nothing is wider than the page but what scrolls inside itself", { timeout: TIMEOUT }, async () => {
      const { page } = await open(file, { viewport: { width, height: 844 } });
      const sizes = await page.evaluate(() => ({
        page: document.documentElement.scrollWidth,
        outside: [...document.querySelectorAll("main *")].filter(
          (element) => !element.closest(".scroll, pre") && element.getBoundingClientRect().right > innerWidth,
        ).length,
      }));
      expect(sizes).toEqual({ page: width, outside: 0 });
    });

    it("no text lies upon another or leaves its drawing, with importers and long names, too", {
      timeout: TIMEOUT,
    }, async () => {
      const comparison = await recordedComparison();
      const { results, ...rest } = reported(comparison, ["mlx5"]);
      const renamed = results.map((result) =>
        result.strategy.name === "linux-pud"
          ? { ...result, strategy: { ...result.strategy, name: "linux:max-align-shift=10" } }
          : result,
      );
      const path = join(directory, "importers.html");
      await writeFile(path, comparisonHtml({ ...rest, results: renamed }, PROVENANCE));
      for (const each of [file, path]) {
        const { page } = await open(each, { viewport: { width, height: 844 } });
        const clashes = await page.evaluate(() =>
          [...document.querySelectorAll("figure > svg")].flatMap((svg) => {
            const frame = svg.getBoundingClientRect();
            const texts = [...svg.querySelectorAll("text")].map((text) => ({
              text: text.textContent,
              box: text.getBoundingClientRect(),
            }));
            const outside = texts.filter(({ box }) => box.left < frame.left - 1 || box.right > frame.right + 1);
            const upon = texts.filter(({ box: a }, index) =>
              texts
                .slice(0, index)
                .some(
                  ({ box: b }) =>
                    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
                    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4,
                ),
            );
            return [...outside, ...upon].map(({ text }) => text);
          }),
        );
        expect(clashes).toEqual([]);
      }
    });
  });

  it("on paper no table is cut off, with importers, too", { timeout: TIMEOUT }, async () => {
    const path = join(directory, "printed.html");
    await writeFile(path, comparisonHtml(reported(await recordedComparison(), ["mlx5", "xe"]), PROVENANCE));
    // A4 within margins of 12 mm, 96 pixels an inch.
    const width = 703;
    const { page } = await open(path, { viewport: { width, height: 1000 } });
    await page.emulateMedia({ media: "print" });
    const ends = await page
      .locator("table")
      .evaluateAll((tables) => tables.map((table) => table.getBoundingClientRect().right));
    expect(ends).toHaveLength(2);
    for (const end of ends) expect(end).toBeLessThanOrEqual(width);
  });

  it.each(["light", "dark"] as const)(
    "has enough contrast when it is %s (WCAG 2.2, 1.4.3 and 1.4.11)",
    { timeout: TIMEOUT },
    async (colorScheme) => {
      const { page } = await open(file, { colorScheme });
      const colours = await page.evaluate(() => {
        const style = getComputedStyle(document.documentElement);
        const names = [...document.styleSheets[0].cssRules]
          .filter((rule): rule is CSSStyleRule => rule instanceof CSSStyleRule && rule.selectorText === ":root")
          .flatMap(({ style }) => [...style].filter((name) => name.startsWith("--")));
        return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name)]));
      });
      const luminance = (colour: string): number => {
        const [r, g, b] = [1, 3, 5].map((at) => {
          const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
          return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const contrast = (a: string, b: string): number => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
      };
      expect(luminance(colours["--paper"]) > 0.5).toBe(colorScheme === "light");
      for (const text of ["--ink", "--muted", "--accent"]) {
        for (const ground of ["--paper", "--field"]) {
          expect(contrast(colours[text], colours[ground]), `${text} on ${ground}`).toBeGreaterThanOrEqual(4.5);
        }
      }
      const marks = Object.keys(colours).filter((name) => /^--(?:leaf|series)-/.test(name));
      expect(marks.length).toBe(11);
      for (const mark of marks) expect(contrast(colours[mark], colours["--field"]), mark).toBeGreaterThanOrEqual(3);
    },
  );
});
