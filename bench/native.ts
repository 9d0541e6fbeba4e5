/**
 * The C peer: compiled when the bench runs, at -O2 and at -O3, each a child process that stays alive between rounds and
 * measures itself (protocol: bench/peers/main.c).
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

export interface Timing {
  readonly nanoseconds: number;
  readonly operations: number;
}

export class NativePeer {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #setup = "";

  constructor(
    /** How it was compiled, such as `-O3`. */
    readonly level: string,
    file: string,
  ) {
    this.#child = spawn(file, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stderr.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async #ask(command: string): Promise<string> {
    this.#child.stdin.write(`${command}\n`);
    const answer = await this.#lines.next();
    if (answer.done) throw new Error(`the C peer ended at "${command}"`);
    return answer.value;
  }

  /** Prepares a case; what was prepared before is dropped. */
  async setup(command: string): Promise<void> {
    if (this.#setup === command) return;
    await this.#ask(`setup ${command}`);
    this.#setup = command;
  }

  /** Forgets that a case is prepared, so that the next one starts from scratch. */
  forget(): void {
    this.#setup = "";
  }

  async check(variant: string): Promise<number> {
    return Number.parseInt(await this.#ask(`check ${variant}`), 16);
  }

  async run(variant: string, times: number): Promise<Timing> {
    const [nanoseconds, operations] = (await this.#ask(`run ${variant} ${times}`)).split(" ").map(Number);
    return { nanoseconds, operations };
  }

  close(): void {
    this.#child.stdin.end();
  }
}

/** Compiles the peer; an empty list, with the reason on standard error, when there is no compiler. */
export function startNativePeers(sources: string, target: string): NativePeer[] {
  const compiler = process.env.CC ?? "cc";
  const files = readdirSync(sources)
    .filter((file) => file.endsWith(".c"))
    .map((file) => path.join(sources, file));
  mkdirSync(target, { recursive: true });
  try {
    execFileSync(compiler, ["--version"], { stdio: "ignore" });
  } catch {
    process.stderr.write(
      `no C compiler ("${compiler}"; set CC to choose another): the comparison with C is left out\n`,
    );
    return [];
  }
  return ["-O2", "-O3"].map((level) => {
    const file = path.join(target, `peer${level}`);
    execFileSync(compiler, ["-std=c11", "-D_POSIX_C_SOURCE=200809L", level, ...files, "-o", file], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    return new NativePeer(level, file);
  });
}
