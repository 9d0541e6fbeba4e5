/** A unit out of what was taken from a machine: a dump of its memory, or a listing of its tables. */
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { EngineFactory } from "../conform/model.js";
import { readDump } from "../dump/dump.js";
import { DumpError } from "../dump/errors.js";
import type { ListingSection } from "../dump/listing.js";
import { readListing } from "../dump/listing-files.js";
import { type ListingOptions, rebuildListing } from "../dump/listing-table.js";
import { arenaBaseFor } from "../dump/pages.js";
import { EXPLAINERS, unitFromListing } from "./explainers.js";
import type { ExplainableUnit } from "./unit.js";

/** Whose requests are asked about. */
export interface Source {
  /** PCI requester ID: bus << 8 | device << 3 | function. */
  readonly sid: number;
  readonly pasid?: number;
}

async function isDump(path: string): Promise<boolean> {
  return access(join(path, "tables.json")).then(
    () => true,
    () => false,
  );
}

async function openDump(newEngine: EngineFactory, directory: string): Promise<ExplainableUnit> {
  const dump = await readDump(directory);
  const explainer = EXPLAINERS.get(dump.arch);
  if (explainer === undefined) {
    const known = [...EXPLAINERS.keys()].join(", ");
    throw new DumpError("inconsistent", `a dump of ${dump.arch}; there are units of ${known}`, { file: directory });
  }
  return explainer.fromDump(newEngine({ arenaBase: arenaBaseFor(dump) }), dump);
}

/** Requests without PASID go through the table of PASID 0, which is Linux's RID_PASID. */
function findSection(sections: readonly ListingSection[], { sid, pasid = 0 }: Source, file: string): ListingSection {
  const ofDevice = sections.filter((section) => section.sid === sid);
  const [section, another] = ofDevice.filter((candidate) => (candidate.pasid ?? 0) === pasid);
  if (section === undefined) {
    const devices = [...new Set(sections.map(({ device }) => device))].join(", ");
    const pasids = ofDevice.map((candidate) => candidate.pasid ?? "no PASID").join(", ");
    const others = devices === "" ? "nothing is listed" : `listed are ${devices}`;
    const listed = ofDevice.length > 0 ? `of this device are listed: PASID ${pasids}` : others;
    throw new DumpError("option", `no table of this device and PASID; ${listed}`, { file });
  }
  if (another !== undefined) {
    const reason = `${section.device} and ${another.device} are both listed: explain the listing of one of them`;
    throw new DumpError("ambiguous", reason, { file });
  }
  return section;
}

async function openListing(
  newEngine: EngineFactory,
  path: string,
  source: Source,
  options: ListingOptions,
): Promise<ExplainableUnit> {
  const section = findSection(await readListing(path), source, path);
  return unitFromListing(newEngine({ arenaBase: arenaBaseFor(rebuildListing(section, options)) }), section, options);
}

/**
 * The unit of a dump's directory (one with a tables.json), or of a listing as `readListing` takes it. `options` say what an
 * ambiguous listing does not.
 * @throws DumpError (`option` for such options of a dump), and IommuError for a register that cannot be
 */
export async function openMachine(
  newEngine: EngineFactory,
  path: string,
  source: Source,
  options: ListingOptions = {},
): Promise<ExplainableUnit> {
  if (!(await isDump(path))) return openListing(newEngine, path, source, options);
  if (options.format !== undefined || options.levels !== undefined) {
    throw new DumpError("option", "a dump tells its format and levels itself", { file: path });
  }
  return openDump(newEngine, path);
}
