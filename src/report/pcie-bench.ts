/** What `experiment pcie-bench` prints. */
import { isPublished, type PcieBenchRow } from "../experiment/pcie-bench.js";
import { type Machine, TRANSLATIONS, type Translation } from "../machines/machine.js";
import { PCIE_BENCH } from "../machines/presets.js";
import { jsonText } from "./json.js";
import { plainTable } from "./table.js";
import { bytes, percent } from "./units.js";

const HEADINGS: Readonly<Record<Translation, string>> = {
  off: "no IOMMU",
  "small-pages": "small pages",
  superpages: "superpages",
};

function machineText(machine: Machine, rows: readonly PcieBenchRow[]): string {
  const { readBytes } = machine.pcieBench ?? PCIE_BENCH;
  const columns = TRANSLATIONS.flatMap((translation) => {
    const found = rows.find((row) => row.machine === machine.name && row.translation === translation);
    return found ? [found] : [];
  });
  const head = [
    "window",
    ...columns.flatMap(({ translation, rms }) => [
      HEADINGS[translation],
      ...(rms === null ? ["bound by"] : ["published", "error"]),
    ]),
  ];
  const lines = columns[0].windows.map(({ window }, index) => [
    bytes(window),
    ...columns.flatMap(({ windows, rms }) => {
      const { gbps, boundBy, publishedGbps, relativeError } = windows[index];
      const beside = rms === null ? [boundBy] : [publishedGbps?.toFixed(1) ?? "", percent(relativeError)];
      return [gbps.toFixed(1), ...beside];
    }),
  ]);
  const means = columns.flatMap(({ rms }) => (rms === null ? ["", ""] : ["", "", `${(rms * 100).toFixed(1)} %`]));
  const last = isPublished(machine) ? [["RMS", ...means]] : [];
  return `${machine.title}, random reads of ${readBytes} bytes, Gb/s\n${plainTable(head, [...lines, ...last])}`;
}

export function pcieBenchText(machines: readonly Machine[], rows: readonly PcieBenchRow[]): string {
  return machines.map((machine) => machineText(machine, rows)).join("\n\n");
}

/** The machines are printed whole, so that every figure stands there with its source. */
export function pcieBenchJson(version: string, machines: readonly Machine[], rows: readonly PcieBenchRow[]): string {
  const document = { command: "experiment pcie-bench", version, inputs: { machines }, rows };
  return `${jsonText(document, 2)}\n`;
}
