/**
 * The caches of STEs and of CDs: Arm IHI 0070 G.b, sections 3.21.3 and 4.3. What no command invalidates stays and is used;
 * with an STE go the CDs that were found through it.
 */
import { smmuv3ConfigurationSelection, smmuv3ContextTags, smmuv3EntryTags } from "../cache/smmuv3.js";
import type { ConfigurationCache } from "../unit/configuration-cache.js";
import type { ConfigurationPlaces } from "../unit/translation.js";
import type { ContextDescriptor, StreamTableEntry } from "./entries.js";
import type { ConfigurationInvalidation } from "./invalidation.js";
import type { Configuration } from "./lookup.js";

export class ConfigurationCaches {
  constructor(
    private readonly entries: ConfigurationCache<StreamTableEntry>,
    private readonly contexts: ConfigurationCache<ContextDescriptor>,
  ) {}

  entry(sid: number): StreamTableEntry | undefined {
    return this.entries.get(smmuv3EntryTags(sid).tag);
  }

  keepEntry(sid: number, entry: StreamTableEntry): void {
    this.entries.set(smmuv3EntryTags(sid), entry);
  }

  context(sid: number, index: number): ContextDescriptor | undefined {
    return this.contexts.get(smmuv3ContextTags(sid, index).tag);
  }

  keepContext(sid: number, index: number, context: ContextDescriptor): void {
    this.contexts.set(smmuv3ContextTags(sid, index), context);
  }

  /** Where the configuration of a stream or a substream is. */
  placesOf(sid: number, { contextIndex }: Configuration): ConfigurationPlaces {
    return {
      context: this.entries.placeOf(smmuv3EntryTags(sid).tag),
      pasid: contextIndex === null ? 0 : this.contexts.placeOf(smmuv3ContextTags(sid, contextIndex).tag),
    };
  }

  invalidate(request: ConfigurationInvalidation): void {
    const { context = [], pasid = [] } = smmuv3ConfigurationSelection(request);
    this.entries.invalidate(context);
    this.contexts.invalidate(pasid);
  }
}
