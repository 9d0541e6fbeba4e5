/** `compare --machine … --access …`: what devices do with the mappings, and through which machine's caches. */
import { type Command, Option } from "commander";
import { ACCESS_KINDS } from "../access/kinds.js";
import type { FormatDescription } from "../engine/formats.js";
import { PRESETS } from "../machines/presets.js";
import type { TrafficChoice } from "../replay/replay.js";
import { chooseTraffic } from "../replay/traffic-inputs.js";
import { refuseUnused, wholeNumberFrom1 } from "./arguments.js";
import { namedList } from "./help.js";

export interface AccessFlags {
  readonly machine?: string;
  readonly access?: string;
  readonly seed?: number;
  /** False with --no-hints. */
  readonly hints: boolean;
  readonly unmapsPerWait?: number;
}

/** What --help lists behind the options. */
export const accessHelp: readonly string[] = [
  namedList(
    "Machines",
    PRESETS.map(({ name, title }) => ({ name, summary: title })),
  ),
  "",
  namedList("Accesses, each once through every mapping", ACCESS_KINDS),
];

export function addAccessOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--machine <name>",
        "have devices access what is mapped through the caches of this preset or JSON file",
      ),
    )
    .addOption(new Option("--access <kind[:bytes]>", "how, in transactions of so many bytes (default: sequential:256)"))
    .option("--no-hints", "invalidations drop paging-structure entries too, as Linux's on VT-d before 2025's fix")
    .option(
      "--unmaps-per-wait <n>",
      "wait once for the invalidations of so many unmaps (default: 1)",
      wholeNumberFrom1,
    );
}

/** The file that describes the machine, where it is no preset. */
export function machineFiles({ machine }: Pick<AccessFlags, "machine">): string[] {
  return machine === undefined || PRESETS.some(({ name }) => name === machine) ? [] : [machine];
}

/** What the flags ask for, undefined when nothing. Throws `invalid`; ends the command for a format beside a machine. */
export async function chosenTraffic(
  flags: AccessFlags,
  command: Command,
  formats: readonly FormatDescription[],
): Promise<TrafficChoice | undefined> {
  if (flags.machine === undefined && flags.access === undefined) {
    refuseUnused(command, ["hints", "unmapsPerWait"], "needs --machine or --access");
    return undefined;
  }
  refuseUnused(command, ["format", "levels"], "is the machine's, with --machine or --access");
  return chooseTraffic(flags, formats);
}
