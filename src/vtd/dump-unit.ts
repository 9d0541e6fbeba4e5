/** A remapping unit as it stood in a dumped machine: its registers and the memory that its structures lie in. */
import { type Dump, loadDump } from "../dump/dump.js";
import { DumpError } from "../dump/errors.js";
import type { Engine } from "../engine/engine.js";
import { unpack } from "../unit/bit-fields.js";
import { CAP_FIELDS, type CapabilityOptions } from "./capabilities.js";
import { VtdUnit } from "./unit.js";

/** VER_REG, section 11.4.1: minor version in bits 3:0, major version in bits 7:4. */
const VERSION_BITS = 4n;
/** Host address widths that a unit can have. */
const LEAST_HAW = 32;
const MOST_HAW = 52;

function registerOf({ registers, directory }: Dump, name: string): bigint {
  const value = registers.get(name);
  if (value === undefined) throw new DumpError("inconsistent", `register ${name} is missing`, { file: directory });
  return value;
}

/** No register tells the host address width: MGAW, or more where a page of the dump lies beyond it. */
function hostAddressWidth(dump: Dump, capRegister: bigint): number {
  const mgaw = unpack(CAP_FIELDS, capRegister).MGAW + 1;
  const widest = dump.pages.reduce((width, { address }) => Math.max(width, address.toString(2).length), LEAST_HAW);
  return Math.min(Math.max(mgaw, widest), MOST_HAW);
}

function versionOf(register: bigint | undefined): CapabilityOptions["version"] {
  if (register === undefined) return undefined;
  const [minor, major] = [register, register >> VERSION_BITS].map((value) => Number(value % (1n << VERSION_BITS)));
  return { major, minor };
}

/**
 * A unit with the capabilities and registers of a dump, whose pages go into the engine's memory, over what is there; its
 * caches are empty. What is not a register of such a unit is left out. An engine made with `arenaBaseFor(dump)` has room.
 * @throws DumpError `inconsistent` for another kind of unit and when CAP, ECAP, GSTS or RTADDR is missing, `arena`;
 * IommuError `invalid` for a value that a register cannot hold, `memory-exhausted`
 */
export function vtdUnitFromDump(engine: Engine, dump: Dump): VtdUnit {
  const { arch, directory, registers } = dump;
  if (arch !== "vtd") throw new DumpError("inconsistent", `"arch" is "${arch}", not "vtd"`, { file: directory });
  const [capRegister, ecapRegister] = ["CAP", "ECAP", "GSTS", "RTADDR"].map((name) => registerOf(dump, name));
  const version = versionOf(registers.get("VER"));
  const haw = hostAddressWidth(dump, capRegister);
  const unit = new VtdUnit(engine, { capRegister, ecapRegister, haw, ...(version ? { version } : {}) });
  const names = new Set(unit.registers.registers.map(({ name }) => name));
  try {
    unit.registers.restore(new Map([...registers].filter(([name]) => names.has(name))));
    loadDump(engine, dump);
  } catch (error) {
    unit.release();
    throw error;
  }
  return unit;
}
