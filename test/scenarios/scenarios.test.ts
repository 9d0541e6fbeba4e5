/** The scenarios: what they claim holds, and the figures are those worked out by hand. */
import { describe, expect, test } from "vitest";
import { scenarioJson, scenarioText } from "../../src/report/scenario.js";
import { holds, type Scenario, type ScenarioResult } from "../../src/scenarios/scenario.js";
import { findScenario, scenarios } from "../../src/scenarios/scenarios.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";

const MIB = 2 ** 20;

const run = (name: string): Promise<ScenarioResult> => findScenario(name).run(newEngine);
const step = (result: ScenarioResult, does: string) => result.steps.filter((one) => one.does === does);
const table = (result: ScenarioResult) => result.table?.rows ?? [];

describe.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", (_name, scenario) => {
  test("everything holds that it claims", async () => {
    const { claims } = await scenario.run(newEngine);
    expect(claims.length).toBeGreaterThan(0);
    expect(claims.filter((claim) => !claim.holds)).toEqual([]);
  });

  test("prints at most 100 columns, and the same document twice", async () => {
    const [one, other] = [await scenario.run(newEngine), await scenario.run(newEngine)];
    for (const line of scenarioText(scenario, one).split("\n")) expect(line.length).toBeLessThanOrEqual(100);
    expect(`  ${scenario.name.padEnd(19)}  ${scenario.summary}`.length).toBeLessThanOrEqual(100);
    const document = scenarioJson("1.0.0", scenario, one);
    expect(document).toBe(scenarioJson("1.0.0", scenario, other));
    expect(JSON.parse(document)).toMatchObject({
      command: "scenario",
      version: "1.0.0",
      inputs: { name: scenario.name },
    });
  });
});

test("the six of them, and no other", () => {
  expect(scenarios.map(({ name }) => name)).toEqual([
    "exporter-vs-importer",
    "mr-100mb",
    "host1x",
    "claim-owner",
    "move",
    "kvm-pfn",
  ]);
  expect(refused("invalid", () => findScenario("mr-100")).message).toContain("the scenarios are exporter-vs-importer");
});

test("mr-100mb: 25,600 MTT entries of 8 bytes with Linux's IOVA, one or two when it agrees with the VA far enough", async () => {
  const rows = table(await run("mr-100mb"));
  expect(
    rows.map(({ iova, congruent, page, entries, mttBytes }) => [iova, congruent, page, entries, mttBytes]),
  ).toEqual([
    ["linux", null, 4096, 25_600, 204_800],
    ["the HCA's hint", 128 * MIB, 128 * MIB, 1, 8],
    // The region begins 4 KiB behind a boundary: 50 pages and a part of a 51st.
    ["congruent to VA", 2 * MIB, 2 * MIB, 51, 408],
    ["congruent to VA", 16 * MIB, 16 * MIB, 7, 56],
    ["congruent to VA", 64 * MIB, 64 * MIB, 2, 16],
    ["congruent to VA", 128 * MIB, 128 * MIB, 1, 8],
    ["congruent to VA", 256 * MIB, 128 * MIB, 1, 8],
    ["congruent to VA", 1024 * MIB, 128 * MIB, 1, 8],
  ]);
  // 511 pages before the first boundary of 2 MiB, 49 huge pages, one page behind them.
  expect(rows.map(({ leaves }) => leaves)).toEqual([25_600, ...new Array(7).fill(49 + 512)]);
});

test("exporter-vs-importer: what each importer and each IOMMU needs", async () => {
  const rows = table(await run("exporter-vs-importer"));
  const figures = (unit: string) =>
    rows
      .filter((row) => row.unit === unit)
      .map(({ sharing, mappedBy, entries, leaves }) => [sharing, mappedBy, entries, leaves]);
  expect(figures("Intel VT-d")).toEqual([
    // Blocks of 64 MiB, 32 MiB and 64 KiB, each at an IOVA of its own: the last allows no page above 64 KiB.
    ["GPU to NIC", "exporter", 1537, 48 + 16],
    ["GPU to NIC", "importer", 1, 48 + 16],
    // The IOVA is aligned to 128 MiB, memory and GPU address lie 64 KiB behind a boundary of 2 MiB.
    ["NIC to GPU", "exporter", 1537, 24_592],
    // From there on 31 and 2 entries of 64 KiB around 47 of 2 MiB; in the IOMMU 16 pages in place of each.
    ["NIC to GPU", "importer", 31 + 47 + 2, 31 * 16 + 47 + 2 * 16],
    ["GPU to GPU", "exporter", 48 + 1, 48 + 16],
    ["GPU to GPU", "importer", 48 + 1, 48 + 16],
  ]);
  expect(figures("Arm SMMUv3")).toEqual(figures("Intel VT-d"));
  const mib = 2 ** 20;
  // 64 leaves are all there are; 64 pages; 64 of the 575 leaves that cover 96 MiB and 64 KiB.
  expect(rows.slice(0, 4).map(({ reach }) => reach)).toEqual([
    96 * mib + 65536,
    96 * mib + 65536,
    64 * 4096,
    Math.floor(((96 * mib + 65536) / 575) * 64),
  ]);
});

test("host1x: the record of the fault, and the neighbour that is hit", async () => {
  const result = await run("host1x");
  expect(step(result, "its driver cheats with the number")).toEqual([
    {
      does: "its driver cheats with the number",
      outcome: "fault 0x10: F_TRANSLATION",
      record: { event: "0x10", StreamID: "0x100", InputAddr: "0xffff0000", RnW: "1", CLASS: "IN" },
    },
  ]);
  expect(step(result, "its driver cheats again")[0].outcome).toBe("reaches memory of 0000:01:00.1 at 0x900000000");
  expect(step(result, "give the private address to the RDMA device")[0].outcome).toContain(
    'given private address 0xffff0000 of "shared by host1x and VIC", wanted an address of 0000:01:00.0',
  );
});

test("claim-owner: Linux's numbers", async () => {
  const outcomes = (await run("claim-owner")).steps.map(({ outcome }) => outcome.split(":")[1]?.trim());
  expect(outcomes.filter((code) => code?.startsWith("E"))).toEqual(["EPERM (-1)", "EPERM (-1)", "EBUSY (-16)"]);
});

test("move: caught by the unit, or by the stale translation that it used", async () => {
  const result = await run("move");
  const [strict, lazy] = step(result, "the device did not stop");
  expect(strict.record).toMatchObject({ FR: "0x79", SID: "0x200", FI: "0xffc00000", T: "read" });
  expect(lazy.outcome).toMatch(/^reaches memory at 0x[0-9a-f]+, by a stale translation$/);
  expect(step(result, "the device reads").map(({ outcome }) => outcome.startsWith("reaches its own memory"))).toEqual([
    true,
    true,
    true,
    true,
  ]);
});

test("kvm-pfn: three pages of 2 MiB, and the refusals", async () => {
  const result = await run("kvm-pfn");
  expect(step(result, "KVM maps them at guest address 0xc0000000")[0].outcome).toBe("3 entries of the EPT");
  expect(
    result.steps.filter(({ outcome }) => outcome.startsWith("refused")).map(({ outcome }) => outcome.split(":")[1]),
  ).toEqual([" wrong-kind", " not-a-party", " wrong-kind"]);
});

test("a claim that fails is said to", () => {
  const scenario: Scenario = { name: "x", summary: "y", run: () => Promise.reject(new Error("not run")) };
  const result = { steps: [], claims: [{ claim: "one is two", holds: false }] };
  expect(holds(result)).toBe(false);
  expect(scenarioText(scenario, result)).toBe("x: y\n\nFAILS  one is two");
  expect(JSON.parse(scenarioJson("1", scenario, result))).toMatchObject({ holds: false, claims: result.claims });
});
