import { randomUUID } from "node:crypto";
import type { Money, Product } from "./catalog.js";

export interface CartLine {
  readonly id: string;
  product: Product;
  quantity: number;
  note?: string;
}

export class Cart {
  private lines = new Map<string, CartLine>();
  private listeners: Array<(cart: Cart) => void> = [];

  constructor(private readonly currency: "EUR" | "GBP" | "USD" = "EUR") {}

  add(product: Product, quantity = 1, note?: string): CartLine {
    if (!Number.isInteger(quantity) || quantity < 1) {
      throw new RangeError(`quantity must be a positive integer, got ${quantity}`);
    }
    const existing = [...this.lines.values()].find((line) => line.product.sku === product.sku && line.note === note);
    if (existing) {
      existing.quantity += quantity;
      this.changed();
      return existing;
    }
    const line: CartLine = { id: randomUUID(), product, quantity, note };
    this.lines.set(line.id, line);
    this.changed();
    return line;
  }

  get total(): Money {
    const cents = [...this.lines.values()].reduce((sum, { product, quantity }) => sum + product.priceCents * quantity, 0);
    return { cents, currency: this.currency };
  }

  onChange(listener: (cart: Cart) => void): () => void {
    this.listeners.push(listener);
    return () => {
      this.listeners = this.listeners.filter((other) => other !== listener);
    };
  }

  private changed(): void {
    for (const listener of this.listeners) listener(this);
  }
}
