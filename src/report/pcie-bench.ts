/** What `experiment pcie-bench` prints. */
import { type PcieBenchRow, TRANSLATIONS, type Translation } from "../experiment/pcie-bench.js";
import type { Machine } from "../machines/machine.js";
import { plainTable } from "./table.js";
import { bytes, percent } from "./units.js";

const HEADINGS: Readonly<Record<Translation, string>> = {
  off: "no IOMMU",
  "small-pages": "small pages",
  superpages: "superpages",
};

function machineText(machine: Machine, rows: readonly PcieBenchRow[]): string {
  const columns = TRANSLATIONS.flatMap((translation) => {
    const found = rows.find((row) => row.machine === machine.name && row.translation === translation);
    return found ? [found] : [];
  });
  const head = ["window", ...columns.flatMap(({ translation }) => [HEADINGS[translation], "published", "error"])];
  const lines = columns[0].windows.map(({ window }, index) => [
    bytes(window),
    ...columns.flatMap(({ windows }) => {
      const { gbps, publishedGbps, relativeError } = windows[index];
      return [gbps.toFixed(1), publishedGbps?.toFixed(1) ?? "", percent(relativeError)];
    }),
  ]);
  const means = columns.flatMap(({ rms }) => ["", "", rms === null ? "" : `${(rms * 100).toFixed(1)} %`]);
  return `${machine.title}, Gb/s\n${plainTable(head, [...lines, ["RMS", ...means]])}`;
}

export function pcieBenchText(machines: readonly Machine[], rows: readonly PcieBenchRow[]): string {
  return machines.map((machine) => machineText(machine, rows)).join("\n\n");
}

/** The machines are printed whole, so that every figure stands there with its source. */
export function pcieBenchJson(version: string, machines: readonly Machine[], rows: readonly PcieBenchRow[]): string {
  const document = { command: "experiment pcie-bench", version, inputs: { machines }, rows };
  const hex = (_: string, value: unknown): unknown => (typeof value === "bigint" ? `0x${value.toString(16)}` : value);
  return `${JSON.stringify(document, hex, 2)}\n`;
}
