/** An SMMU as it stood in a dumped machine: its registers and the memory that its structures lie in. */
import { type Dump, loadDump } from "../dump/dump.js";
import { DumpError } from "../dump/errors.js";
import type { Engine } from "../engine/engine.js";
import { IDENTIFICATION_REGISTERS } from "./identification.js";
import { SmmuUnit } from "./unit.js";

/** Without these nothing can be said of a transaction; sections 6.3.1 to 6.3.6, 6.3.9, 6.3.24 and 6.3.25. */
const NEEDED = ["IDR0", "IDR1", "IDR3", "IDR5", "CR0", "STRTAB_BASE", "STRTAB_BASE_CFG"] as const;

/**
 * A unit with the identification and registers of a dump, whose pages go into the engine's memory, over what is there; its
 * caches are empty. What is not a register of an SMMU is left out. An engine made with `arenaBaseFor(dump)` has room.
 * @throws DumpError `inconsistent` for another kind of unit and when one of the registers needed is missing, `arena`;
 * IommuError `invalid` for a value that a register cannot hold, `memory-exhausted`
 */
export function smmuUnitFromDump(engine: Engine, dump: Dump): SmmuUnit {
  const { arch, directory, registers } = dump;
  if (arch !== "smmuv3") throw new DumpError("inconsistent", `"arch" is "${arch}", not "smmuv3"`, { file: directory });
  for (const name of NEEDED) {
    if (!registers.has(name)) throw new DumpError("inconsistent", `register ${name} is missing`, { file: directory });
  }
  const identification = Object.fromEntries(
    IDENTIFICATION_REGISTERS.flatMap((name) => {
      const value = registers.get(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
  const unit = new SmmuUnit(engine, { registers: identification });
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
