/** The rules of a movable buffer as plain as can be: who is attached, what each has mapped, and where the memory is. */
export type Kind = "static" | "dynamic" | "peer" | "far-peer" | "deaf-peer";

export interface Importer {
  readonly kind: Kind;
  mapped: number;
  pins: number;
}

export type Place = "vram" | "system";

export class Model {
  readonly importers: (Importer | null)[] = [];
  place: Place = "vram";
  /** Pages that the buffer has left, of work that is not over. */
  leaving = { vram: 0, system: 0 };

  constructor(
    private readonly pages: number,
    private readonly hasSystem: boolean,
  ) {}

  /** Pages of memory in use. */
  get used(): Record<Place, number> {
    const { vram, system } = this.leaving;
    return {
      vram: vram + (this.place === "vram" ? this.pages : 0),
      system: system + (this.place === "system" ? this.pages : 0),
    };
  }

  get pinned(): boolean {
    return this.importers.some((importer) => importer !== null && importer.pins > 0);
  }

  attach(kind: Kind): string | null {
    if (!this.hasSystem && !reaches(kind)) return "EOPNOTSUPP";
    this.importers.push({ kind, mapped: 0, pins: 0 });
    return null;
  }

  map(importer: Importer): string | null {
    const refusal = this.#bringWithin(importer);
    if (refusal !== null) return refusal;
    importer.mapped++;
    if (importer.kind === "static") importer.pins++;
    return null;
  }

  unmap(importer: Importer): string | null {
    if (importer.mapped === 0) return "not-mapped";
    importer.mapped--;
    if (importer.kind === "static") importer.pins--;
    return null;
  }

  pin(importer: Importer): string | null {
    if (importer.kind === "static") return "not-dynamic";
    const refusal = this.#bringWithin(importer);
    if (refusal === null) importer.pins++;
    return refusal;
  }

  unpin(importer: Importer): string | null {
    if (importer.kind === "static") return "not-dynamic";
    if (importer.pins === 0) return "not-pinned";
    importer.pins--;
    return null;
  }

  detach(index: number): string | null {
    const importer = this.importers[index];
    if (importer === null) return "detached";
    if (importer.mapped > 0) return "still-mapped";
    this.importers[index] = null;
    return null;
  }

  move(to: Place): string | null {
    if (to === this.place) return null;
    if (this.pinned) return "EBUSY";
    if (to === "system" && !this.hasSystem) return "EINVAL";
    this.leaving[this.place] += this.pages;
    this.place = to;
    for (const importer of this.importers) if (importer && hears(importer.kind)) importer.mapped = 0;
    return null;
  }

  /** The importers' work is over. */
  settle(): void {
    this.leaving = { vram: 0, system: 0 };
  }

  /** Who cannot reach VRAM brings the buffer to host memory. */
  #bringWithin({ kind }: Importer): string | null {
    return reaches(kind) ? null : this.move("system");
  }
}

function reaches(kind: Kind): boolean {
  return kind === "peer" || kind === "deaf-peer";
}

/** Can be told to unmap, and does. */
function hears(kind: Kind): boolean {
  return kind === "dynamic" || kind === "peer" || kind === "far-peer";
}
