/**
 * A cache as a list of entries with ages, looked through from end to end. An entry keeps the place (set and way) that it was
 * given; an age is the number of the event at which a place was last used, by whatever entry was in it.
 */
import type { CacheOutcome, CachePredicate, CacheTag, CacheUse } from "../../src/cache/cache.js";
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { Random } from "./random.js";

interface Entry extends CacheUse {
  readonly set: number;
  readonly way: number;
}

const NEVER = -1;

export class SlowCache {
  #entries: Entry[] = [];
  #events = 0;
  /** By place, `set * ways + way`. */
  readonly #usedAt: number[];
  /** Victims that every set has had. */
  readonly #victims: number[];
  readonly #random: Random;

  constructor(private readonly geometry: CacheGeometry) {
    this.#usedAt = new Array<number>(geometry.sets * geometry.ways).fill(NEVER);
    this.#victims = new Array<number>(geometry.sets).fill(0);
    this.#random = new Random(geometry.seed ?? 1);
  }

  get size(): number {
    return this.#entries.length;
  }

  use(use: CacheUse): CacheOutcome {
    const found = this.find(use);
    return found ? { hit: true, value: found.value } : { hit: false, victim: this.fill(use) };
  }

  /** The entry for a page, which is now the one used last. */
  find(page: CacheTag): CacheUse | undefined {
    const found = this.#entries.find((entry) => samePage(entry, page));
    if (found) this.#usedAt[found.set * this.geometry.ways + found.way] = ++this.#events;
    return found;
  }

  /** Makes an entry for a page that has none; returns what it replaced. */
  fill(use: CacheUse): CacheTag | null {
    const set = Number(((use.address >> BigInt(use.shift)) ^ use.tag) % BigInt(this.geometry.sets));
    const taken = this.#entries.filter((entry) => entry.set === set).map(({ way }) => way);
    const ways = Array.from({ length: this.geometry.ways }, (_, way) => way);
    const empty = ways.find((way) => !taken.includes(way));
    const way = empty ?? this.#victim(set, ways);
    const victim = this.#entries.find((entry) => entry.set === set && entry.way === way) ?? null;
    this.#entries = [...this.#entries.filter((entry) => entry !== victim), { ...use, set, way }];
    this.#usedAt[set * this.geometry.ways + way] = ++this.#events;
    return (
      victim && {
        address: (victim.address >> BigInt(victim.shift)) << BigInt(victim.shift),
        shift: victim.shift,
        tag: victim.tag,
      }
    );
  }

  invalidate({ mask = 0n, owner = 0n, first = 0n, last = 2n ** 64n - 1n }: CachePredicate): number {
    return this.dropWhere((entry) => {
      const size = 1n << BigInt(entry.shift);
      const page = entry.address - (entry.address % size);
      const meets = page + size > first && page <= last;
      return meets && (entry.owner & mask) === (owner & mask);
    });
  }

  /** Drops every entry that meets a condition; returns how many that were. */
  dropWhere(condition: (entry: CacheUse) => boolean): number {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter((entry) => !condition(entry));
    return before - this.#entries.length;
  }

  #victim(set: number, ways: readonly number[]): number {
    const age = (way: number): number => this.#usedAt[set * ways.length + way];
    const last = (half: readonly number[]): number => Math.max(...half.map(age));
    const nth = this.#victims[set]++;
    switch (this.geometry.replacement) {
      case "lru":
        return ways.reduce((oldest, way) => (age(way) < age(oldest) ? way : oldest));
      case "tree-plru": {
        // The half that the last use was not in, and so on down the tree.
        let rest = ways;
        while (rest.length > 1) {
          const lower = rest.slice(0, rest.length / 2);
          const upper = rest.slice(rest.length / 2);
          rest = last(lower) <= last(upper) ? lower : upper;
        }
        return rest[0];
      }
      case "round-robin":
        return nth % ways.length;
      case "random":
        return Number(((this.#random.u64() >> 32n) * BigInt(ways.length)) >> 32n);
    }
  }
}

function samePage(a: CacheTag, b: CacheTag): boolean {
  return a.shift === b.shift && a.tag === b.tag && a.address >> BigInt(a.shift) === b.address >> BigInt(b.shift);
}
