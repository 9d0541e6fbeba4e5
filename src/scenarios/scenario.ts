/** What a scenario is: a machine set up, drivers that do something with it, and what is claimed of the outcome. */
import type { AccessReport } from "../domain/group.js";
import type { FaultReport } from "../domain/remapping-driver.js";
import { hex } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { LinuxError } from "../linux/errno.js";
import { AddressMisuseError } from "../dma/index.js";

export interface Column {
  readonly key: string;
  readonly title: string;
  /** `size`: bytes of a page or a modulus, null where there is none. */
  readonly kind: "text" | "count" | "bytes" | "size";
}

export interface ResultTable {
  readonly columns: readonly Column[];
  readonly rows: readonly Readonly<Record<string, string | number | null>>[];
  /** What the columns mean. */
  readonly note: string;
}

/** Something that was done, and what came of it. */
export interface Step {
  readonly does: string;
  readonly outcome: string;
  /** What the hardware recorded, by the specification's names. */
  readonly record?: FaultReport;
}

export interface Claim {
  readonly claim: string;
  readonly holds: boolean;
}

export interface ScenarioResult {
  readonly table?: ResultTable;
  readonly steps: readonly Step[];
  readonly claims: readonly Claim[];
}

export interface Scenario {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Sets everything up anew, in engines of its own. */
  run(newEngine: () => Promise<Engine>): Promise<ScenarioResult>;
}

/** Writes down what is done, in order. */
export class Journal {
  readonly steps: Step[] = [];

  note(does: string, outcome: string): void {
    this.steps.push({ does, outcome });
  }

  /** Runs what Linux or the API may refuse, and returns the code of the refusal, null when there was none. */
  attempt(does: string, work: () => unknown): string | null {
    try {
      work();
    } catch (error) {
      if (!(error instanceof LinuxError || error instanceof AddressMisuseError)) throw error;
      const number = error instanceof LinuxError ? ` (${error.errno})` : "";
      this.note(does, `refused: ${error.code}${number}: ${refusal(error)}`);
      return error.code;
    }
    this.note(does, "done");
    return null;
  }

  /** One access of a device, and where it led. */
  access(does: string, report: AccessReport): AccessReport {
    const { access } = report;
    const record = access.ok ? null : access.record;
    this.steps.push({ does, outcome: outcomeOf(report), ...(record ? { record } : {}) });
    return report;
  }
}

function refusal(error: LinuxError | AddressMisuseError): string {
  return error instanceof AddressMisuseError ? `given ${error.given}, wanted ${error.wanted}` : error.reason;
}

function outcomeOf(report: AccessReport): string {
  const { touches, access } = report;
  if (!access.ok) {
    const code = access.code === null ? "" : ` ${hex(BigInt(access.code))}`;
    return `fault${code}: ${access.name}${access.condition === undefined ? "" : `, ${access.condition}`}`;
  }
  const at = `at ${hex(access.physical)}`;
  if (touches === "own") return `reaches its own memory ${at}`;
  if (touches === "foreign") return `reaches memory of ${[...report.mapping.users].join(", ")} ${at}`;
  return touches === "stale" ? `reaches memory ${at}, by a stale translation` : `reaches memory ${at}, untranslated`;
}

/** Whether everything holds that the scenario claims. */
export function holds({ claims }: ScenarioResult): boolean {
  return claims.every((claim) => claim.holds);
}
