// One signal that many calls listen to. The listeners of an AbortSignal are a list that is walked whenever one is added
// or removed: with a thousand calls under way, that costs more than the calls.

import type { Cancel } from "../node/ports.js";

const listenersOf = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `listener` when the signal fires; never if it has fired already. The same listener counts once. */
export function onAbortOf(signal: AbortSignal, listener: () => void): Cancel {
  let listeners = listenersOf.get(signal);
  if (listeners === undefined) {
    const own = new Set<() => void>();
    signal.addEventListener("abort", () => callAll(own), { once: true });
    listenersOf.set(signal, own);
    listeners = own;
  }
  const own = listeners;
  own.add(listener);
  return () => {
    own.delete(listener);
  };
}

function callAll(listeners: Set<() => void>): void {
  const waiting = [...listeners];
  listeners.clear();
  for (const listener of waiting) listener();
}
