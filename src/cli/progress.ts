/** Progress on stderr, when that is a terminal: of what takes longer than a second. */
import { stat } from "node:fs/promises";
import progress, { type Options } from "cli-progress";
import { significant } from "../report/units.js";

const QUIET_MILLISECONDS = 1000;
const BYTES_PER_MEGABYTE = 1e6;

/** Nothing that a terminal would be left with after Ctrl-C: a bar that ends by it cannot restore the cursor. */
const BAR: Options = {
  clearOnComplete: true,
  hideCursor: false,
  linewrap: true,
  barsize: 30,
  autopaddingChar: " ",
};

export interface ProgressOptions {
  /** What goes on, such as `reading`. */
  readonly doing: string;
  /** What is counted, such as `MB`. */
  readonly unit: string;
  /** How much there is to do; null when nobody knows. */
  readonly total: number | null;
  /** Where the bar is drawn, if that is a terminal. Default: stderr. */
  readonly stream?: NodeJS.WriteStream;
}

/** A bar with a rate and the time to go; without a total, how much is done and the rate. */
export class Progress {
  readonly #bar: progress.SingleBar | null;
  readonly #total: number | null;
  readonly #begin = performance.now();
  #done = 0;
  #shown = false;

  constructor({ doing, unit, total, stream = process.stderr }: ProgressOptions) {
    const format =
      total === null
        ? `${doing} {done} ${unit}, {rate} ${unit}/s`
        : `${doing} [{bar}] {percentage} %, {rate} ${unit}/s, {left} to go`;
    this.#total = total;
    this.#bar = stream.isTTY ? new progress.SingleBar({ ...BAR, stream, format }) : null;
  }

  /** Of what is done in shares, 0 to 1. */
  static ofShares(doing: string): Progress {
    return new Progress({ doing, unit: "%", total: 100 });
  }

  /**
   * Through files, in MB as they are stored, so that compressed ones have a time to go, too. Without one where a file does
   * not tell its size, as pipes and standard input (`-`).
   */
  static async throughFiles(doing: string, files: readonly string[]): Promise<Progress> {
    const sizes = await Promise.all(files.map(megabytes));
    const total = sizes.reduce((sum, size) => (sum === null || size === null ? null : sum + size), 0);
    return new Progress({ doing, unit: "MB", total });
  }

  /** @param done so far, of the total */
  update(done: number): void {
    this.#done = done;
    if (this.#bar === null) return;
    const seconds = (performance.now() - this.#begin) / 1000;
    const rate = done / seconds;
    // The bar's own estimate knows nothing of the time before it was shown.
    const left = this.#total === null || done === 0 ? 0 : Math.ceil((this.#total - done) / rate);
    const payload = {
      done: significant(done),
      rate: significant(rate),
      left: progress.Format.TimeFormat(left, BAR, 1).trim(),
    };
    if (this.#shown) this.#bar.update(done, payload);
    else if (seconds * 1000 >= QUIET_MILLISECONDS) {
      this.#bar.start(this.#total || 1, done, payload);
      this.#shown = true;
    }
  }

  /** @param share of all, 0 to 1 */
  readonly share = (share: number): void => {
    this.update(share * (this.#total ?? 1));
  };

  /** @param bytes that were read since the last time */
  readonly read = (bytes: number): void => {
    this.update(this.#done + bytes / BYTES_PER_MEGABYTE);
  };

  stop(): void {
    if (this.#shown) this.#bar?.stop();
    this.#shown = false;
  }
}

/** Of work in stages, one bar after another. */
export class StagedProgress {
  #stage = "";
  #progress: Progress | null = null;

  /** @param share of this stage that is done, 0 to 1 */
  readonly share = (stage: string, share: number): void => {
    if (stage !== this.#stage) {
      this.stop();
      this.#progress = Progress.ofShares(stage);
      this.#stage = stage;
    }
    this.#progress?.share(share);
  };

  stop(): void {
    this.#progress?.stop();
  }
}

/** What a file holds, in 10^6 bytes; null where only its end tells. */
async function megabytes(file: string): Promise<number | null> {
  if (file === "-") return null;
  return stat(file).then(
    (found) => (found.isFile() ? found.size / BYTES_PER_MEGABYTE : null),
    () => null,
  );
}
