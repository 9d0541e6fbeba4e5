/** What only the text tells: how many CPUs there are, and which device was attached to another domain. */

/** `attach_device_to_domain`: the device leaves its default domain, or comes back to it. */
export interface AttachEvent {
  readonly line: number;
  /** TASK-PID, as the tokenizer's names of tasks. */
  readonly task: string;
  /** As the event prints it. */
  readonly device: string;
}

const ATTACH = "attach_device_to_domain:";
const LINE_FEED = 10;

/** Takes the text in chunks cut anywhere. */
export class Remarks {
  /** From the header's `#P:`, 0 without it. */
  cpus = 0;
  readonly attaches: AttachEvent[] = [];
  readonly #decoder = new TextDecoder();
  #carried = "";
  #line = 1;

  push(chunk: Uint8Array): void {
    const text = this.#carried + this.#decoder.decode(chunk, { stream: true });
    const end = text.lastIndexOf("\n") + 1;
    this.#carried = text.slice(end);
    this.#take(text.slice(0, end));
    for (const byte of chunk) if (byte === LINE_FEED) this.#line++;
  }

  end(): void {
    this.#take(this.#carried);
  }

  /** Takes whole lines, the first of which is line `#line`. */
  #take(text: string): void {
    if (this.cpus === 0) this.cpus = Number(/^#.*#P:(\d+)/m.exec(text)?.[1] ?? 0);
    for (let at = text.indexOf(ATTACH); at >= 0; at = text.indexOf(ATTACH, at + 1)) {
      const begin = text.lastIndexOf("\n", at) + 1;
      const end = text.indexOf("\n", at);
      const line = text.slice(begin, end < 0 ? text.length : end);
      const found = /^\s*(.+-\d+)\s.*device=(\S+)/.exec(line);
      if (found === null) continue;
      const before = text.slice(0, begin).split("\n").length - 1;
      this.attaches.push({ line: this.#line + before, task: found[1], device: found[2] });
    }
  }
}
