/**
 * A unit around the table of a listing. Listings show no root, context or PASID entries; those made here do nothing but name
 * the table, as Intel VT-d Architecture Specification Rev. 5.10, sections 9.1 to 9.6, has them.
 */
import type { VectorRequest } from "../conform/vector.js";
import type { ListingSection } from "../dump/listing.js";
import { type ListingOptions, loadListing } from "../dump/listing-table.js";
import { type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import type { PageTable } from "../engine/page-table.js";
import type { Answer, ExplainableUnit } from "../explain/unit.js";
import { PGTT_FIRST, PGTT_SECOND } from "./entries.js";
import { VtdExplainableUnit } from "./explain.js";
import { GCMD } from "./register-map.js";
import { rootTableAddress, TTM } from "./table-mode.js";
import { VtdUnit } from "./unit.js";

const P = 1n;
/** Legacy context entry, section 9.3, second quadword. */
const CONTEXT_DID = 1n << 8n;
/** PASID table entry, section 9.6. */
const PASID_AW_SHIFT = 2n;
const PGTT_SHIFT = 6n;
const PASID_DID = 1n;
const PWSNP = 1n << 23n;
const FSPM_SHIFT = 2n;

/** AW of context and PASID entries: 1 is 3 levels. */
function widthCode(table: PageTable): bigint {
  return BigInt(table.levels - 2);
}

/** A new page with these words at `offset`, otherwise zero. */
function pageWith(engine: Engine, offset: number, words: readonly bigint[]): PhysicalAddress {
  const page = engine.memory.allocatePage();
  words.forEach((word, index) => {
    engine.memory.write64(physicalAddress(page + BigInt(offset + index * 8)), word);
  });
  return page;
}

function legacyRoot(engine: Engine, sid: number, table: PageTable): bigint {
  const context = pageWith(engine, (sid & 0xff) * 16, [table.root | P, widthCode(table) | CONTEXT_DID]);
  return pageWith(engine, (sid >> 8) * 16, [context | P]);
}

function pasidEntry(table: PageTable): bigint[] {
  const type = (pgtt: number): bigint => (BigInt(pgtt) << PGTT_SHIFT) | P;
  if (table.format.name === "vtdss") {
    return [table.root | type(PGTT_SECOND) | (widthCode(table) << PASID_AW_SHIFT), PASID_DID | PWSNP];
  }
  const fiveLevels = table.levels === 5 ? 1n << FSPM_SHIFT : 0n;
  return [type(PGTT_FIRST), PASID_DID | PWSNP, table.root | fiveLevels];
}

/** Whatever PASID the section has, its table is that of requests without one: RID_PASID is 0. */
function scalableRoot(engine: Engine, sid: number, table: PageTable): bigint {
  const pasids = pageWith(engine, 0, pasidEntry(table));
  const directory = pageWith(engine, 0, [pasids | P]);
  const context = pageWith(engine, (sid & 0x7f) * 32, [directory | P]);
  const half = (sid & 0x80) === 0 ? [context | P] : [0n, context | P];
  return rootTableAddress(pageWith(engine, (sid >> 8) * 16, half), TTM.SCALABLE);
}

class ListedUnit extends VtdExplainableUnit {
  /** Every request is one of the listed table. */
  override request({ pasid: _pasid, ...request }: VectorRequest): Answer {
    const { reads, verdict } = super.request(request);
    return {
      reads: reads.filter(({ structure }) => /^[FS]S-/.test(structure)),
      verdict: verdict.ok
        ? verdict
        : { ...verdict, record: null, unrecorded: "a listing does not show whether FPD is set" },
    };
  }
}

/**
 * A unit that translates the requests of a section's device with the section's table, which goes into the engine's memory.
 * An engine made with `arenaBaseFor(rebuildListing(section, options))` has room for it. Throws as `loadListing`.
 */
export function vtdUnitFromListing(
  engine: Engine,
  section: ListingSection,
  options: ListingOptions = {},
): ExplainableUnit {
  const table = loadListing(engine, section, options);
  const { sid, pasid } = section;
  // Kernels that name no PASID list scalable mode as well; only there is a first stage.
  const legacy = pasid === null && table.format.name === "vtdss";
  const rootTable = legacy ? legacyRoot(engine, sid, table) : scalableRoot(engine, sid, table);
  const unit = new VtdUnit(engine);
  unit.registers.restore(
    new Map([
      ["RTADDR", rootTable],
      ["GSTS", GCMD.TE],
    ]),
  );
  return new ListedUnit(engine, unit);
}
