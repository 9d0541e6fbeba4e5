/** What `joint` weighed, as people and programs read it. */
import { type Candidate, JointScorer } from "../strategies/joint.js";
import type { Trade } from "../strategies/joint-placer.js";
import { plainTable } from "./table.js";
import { bytes, significant, sizeName } from "./units.js";

const PAGE_BYTES = 4096;

/** What a candidate is, as people read it: "anywhere", "VA modulo 2M". */
export function candidateName({ serves, modulus }: Pick<Candidate, "serves" | "modulus">): string {
  if (serves === "nobody") return "anywhere";
  return `${serves === "importer" ? "VA" : "PA"} modulo ${sizeName(modulus * PAGE_BYTES)}`;
}

/** Why the cheapest of these candidates was chosen. */
export function whyChosen(candidates: readonly Candidate[], chosen: Candidate): string {
  const others = candidates.filter((candidate) => candidate !== chosen);
  if (others.length === 0) return "there is no other candidate";
  const next = JointScorer.best(others);
  const score = `score ${chosen.score}`;
  if (chosen.score < next.score) return `${score} is the lowest; ${candidateName(next)} would score ${next.score}`;
  if (chosen.spacePages < next.spacePages)
    return `${score} is shared with ${candidateName(next)}, which takes more space`;
  return `${score} is shared with ${candidateName(next)}, which comes later`;
}

function costs({ iommuLeaves, importerEntries, spacePages, score }: Omit<Candidate, "serves" | "modulus" | "address">) {
  return [String(iommuLeaves), String(importerEntries), bytes(spacePages * 4096), significant(score)];
}

/** The trade of a joint strategy: what serving each side alone would cost, and the mapping they disagree about most. */
export function tradeText(name: string, { weights, sums, widest }: Trade): string {
  const head = ["IOMMU leaves", "entries", "IOVA space", "score"];
  const total = { nobody: "anywhere", importer: "best for the importer", iommu: "best for the IOMMU", joint: "chosen" };
  const rows = (Object.keys(total) as (keyof typeof total)[]).map((side) => [
    total[side],
    ...costs(sums[side]),
    String(sums[side].chosen),
  ]);
  const lines = [
    `${name}: scores with weights iommu=${weights.iommu}, importer=${weights.importer}, space=${weights.space}`,
    "",
    plainTable(["over all mappings", ...head, "chosen"], rows),
  ];
  if (widest === null) return [...lines, "", "IOMMU and importer never disagree here."].join("\n");
  const { virtualPage, pieces, candidates, chosen } = widest;
  const pages = pieces.reduce((sum, piece) => sum + piece.pages, 0);
  const buffer =
    `${bytes(pages * 4096)} at VA 0x${(virtualPage * 4096).toString(16)}, ` +
    `PA 0x${(pieces[0].physicalPage * 4096).toString(16)}${pieces.length > 1 ? ` and ${pieces.length - 1} more pieces` : ""}`;
  return [
    ...lines,
    "",
    `They disagree most about ${buffer}:`,
    "",
    plainTable(
      ["candidate", ...head, ""],
      candidates.map((candidate) => [
        candidateName(candidate),
        ...costs(candidate),
        candidate === chosen ? "chosen" : "",
      ]),
    ),
    "",
    `Chosen is ${candidateName(chosen)}: ${whyChosen(candidates, chosen)}.`,
  ].join("\n");
}

/** The trade as it stands in JSON: addresses as hex strings, sizes in bytes. */
export function tradeDocument({ weights, sums, widest }: Trade): Readonly<Record<string, unknown>> {
  const hexPage = (page: number): string => `0x${(page * 4096).toString(16)}`;
  const sized = <T extends { readonly spacePages: number }>({ spacePages, ...rest }: T) => ({
    ...rest,
    spaceBytes: spacePages * 4096,
  });
  const candidate = ({ modulus, address, ...rest }: Candidate) => ({
    name: candidateName({ modulus, serves: rest.serves }),
    modulus: modulus * 4096,
    address: hexPage(address),
    ...sized(rest),
  });
  return {
    weights,
    sums: Object.fromEntries(Object.entries(sums).map(([side, values]) => [side, sized(values)])),
    widest: widest && {
      va: hexPage(widest.virtualPage),
      pieces: widest.pieces.map(({ physicalPage, pages }) => ({ pa: hexPage(physicalPage), bytes: pages * 4096 })),
      candidates: widest.candidates.map(candidate),
      chosen: candidateName(widest.chosen),
      why: whyChosen(widest.candidates, widest.chosen),
    },
  };
}
