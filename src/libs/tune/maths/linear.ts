/**
 * Small dense linear algebra on row-major Float64Arrays: Cholesky, triangular solves and inverses, symmetric eigenvectors.
 *
 * The cubic ones, where a Gaussian process spends its time, take two or four rows at once: each number loaded serves
 * several products, and the sums do not wait for each other. Measured 2 to 3 times as fast as row by row at n = 200.
 */

/**
 * Lower Cholesky factor of the symmetric positive definite n x n matrix `a`, in place (the upper triangle is left as it
 * was). False when `a` is not positive definite.
 */
export function cholesky(a: Float64Array, n: number): boolean {
  for (let i = 0; i < n; i += 2) {
    const top = i * n;
    const isPair = i + 1 < n;
    const low = isPair ? top + n : top; // a last odd row is taken twice
    for (let j = 0; j < i; j += 2) {
      const left = j * n;
      const right = left + n;
      let topLeft = a[top + j]!;
      let topRight = a[top + j + 1]!;
      let lowLeft = a[low + j]!;
      let lowRight = a[low + j + 1]!;
      for (let k = 0; k < j; k++) {
        const t = a[top + k]!;
        const b = a[low + k]!;
        const l = a[left + k]!;
        const r = a[right + k]!;
        topLeft -= t * l;
        topRight -= t * r;
        lowLeft -= b * l;
        lowRight -= b * r;
      }
      const first = a[left + j]!;
      const across = a[right + j]!;
      const second = a[right + j + 1]!;
      topLeft /= first;
      lowLeft /= first;
      a[top + j] = topLeft;
      a[top + j + 1] = (topRight - topLeft * across) / second;
      a[low + j] = lowLeft;
      a[low + j + 1] = (lowRight - lowLeft * across) / second;
    }
    let corner = a[top + i]!;
    let below = a[low + i]!;
    let last = isPair ? a[low + i + 1]! : 1;
    for (let k = 0; k < i; k++) {
      const t = a[top + k]!;
      const b = a[low + k]!;
      corner -= t * t;
      below -= t * b;
      last -= b * b;
    }
    if (!(corner > 0)) return false;
    corner = Math.sqrt(corner);
    a[top + i] = corner;
    if (!isPair) continue;
    below /= corner;
    last -= below * below;
    if (!(last > 0)) return false;
    a[low + i] = below;
    a[low + i + 1] = Math.sqrt(last);
  }
  return true;
}

/** Solves L x = b in place. */
export function solveLower(l: Float64Array, n: number, b: Float64Array): void {
  for (let i = 0; i < n; i++) {
    const row = i * n;
    let sum = b[i]!;
    for (let k = 0; k < i; k++) sum -= l[row + k]! * b[k]!;
    b[i] = sum / l[row + i]!;
  }
}

/** Solves L' x = b in place. */
export function solveUpper(l: Float64Array, n: number, b: Float64Array): void {
  for (let i = n - 1; i >= 0; i--) {
    const row = i * n;
    const x = b[i]! / l[row + i]!;
    b[i] = x;
    for (let k = 0; k < i; k++) b[k] = b[k]! - l[row + k]! * x;
  }
}

/** The inverse of L, lower triangular too, written into `inverse`. */
export function invertLower(l: Float64Array, n: number, inverse = new Float64Array(n * n)): Float64Array {
  for (let i = 0; i < n; i++) {
    const row = i * n;
    const scale = -1 / l[row + i]!;
    inverse.fill(0, row, row + n);
    const fours = i - (i % 4);
    for (let k = 0; k < fours; k += 4) {
      const a = k * n;
      const b = a + n;
      const c = b + n;
      const d = c + n;
      const fa = l[row + k]! * scale;
      const fb = l[row + k + 1]! * scale;
      const fc = l[row + k + 2]! * scale;
      const fd = l[row + k + 3]! * scale;
      // Past their diagonals rows are 0, so the four can be taken to the end of the longest.
      for (let j = 0; j <= k + 3; j++)
        inverse[row + j] =
          inverse[row + j]! +
          (fa * inverse[a + j]! + fb * inverse[b + j]!) +
          (fc * inverse[c + j]! + fd * inverse[d + j]!);
    }
    for (let k = fours; k < i; k++) {
      const factor = l[row + k]! * scale;
      const rowK = k * n;
      for (let j = 0; j <= k; j++) inverse[row + j] = inverse[row + j]! + factor * inverse[rowK + j]!;
    }
    inverse[row + i] = -scale;
  }
  return inverse;
}

/** A' A of a lower triangular A: its lower triangle, written into `result`. */
export function gramLower(a: Float64Array, n: number, result = new Float64Array(n * n)): Float64Array {
  result.fill(0);
  const fours = n - (n % 4);
  for (let k = 0; k < fours; k += 4) {
    const p = k * n;
    const q = p + n;
    const r = q + n;
    const s = r + n;
    for (let i = 0; i <= k + 3; i++) {
      const row = i * n;
      const fp = a[p + i]!;
      const fq = a[q + i]!;
      const fr = a[r + i]!;
      const fs = a[s + i]!;
      for (let j = 0; j <= i; j++)
        result[row + j] =
          result[row + j]! + (fp * a[p + j]! + fq * a[q + j]!) + (fr * a[r + j]! + fs * a[s + j]!);
    }
  }
  for (let k = fours; k < n; k++) {
    const rowK = k * n;
    for (let i = 0; i <= k; i++) {
      const factor = a[rowK + i]!;
      const row = i * n;
      for (let j = 0; j <= i; j++) result[row + j] = result[row + j]! + factor * a[rowK + j]!;
    }
  }
  return result;
}

export function dot(a: Float64Array, b: Float64Array): number {
  const n = a.length;
  const fours = n - (n % 4);
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let i = 0; i < fours; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  for (let i = fours; i < n; i++) s0 += a[i]! * b[i]!;
  return s0 + s1 + (s2 + s3);
}

/** a += factor b. */
export function addScaled(a: Float64Array, factor: number, b: Float64Array): void {
  for (let i = 0; i < a.length; i++) a[i] = a[i]! + factor * b[i]!;
}

/** result = A x for a lower triangular A. */
export function multiplyLower(a: Float64Array, n: number, x: Float64Array, result: Float64Array): void {
  const fours = n - (n % 4);
  for (let i = 0; i < fours; i += 4) {
    const p = i * n;
    const q = p + n;
    const r = q + n;
    const s = r + n;
    let sp = 0;
    let sq = 0;
    let sr = 0;
    let ss = 0;
    // Right of its diagonal a row is 0.
    for (let j = 0; j < i + 4; j++) {
      const xj = x[j]!;
      sp += a[p + j]! * xj;
      sq += a[q + j]! * xj;
      sr += a[r + j]! * xj;
      ss += a[s + j]! * xj;
    }
    result[i] = sp;
    result[i + 1] = sq;
    result[i + 2] = sr;
    result[i + 3] = ss;
  }
  for (let i = fours; i < n; i++) {
    let sum = 0;
    for (let j = 0; j <= i; j++) sum += a[i * n + j]! * x[j]!;
    result[i] = sum;
  }
}

/** result = A' x for a lower triangular A. */
export function multiplyTransposed(a: Float64Array, n: number, x: Float64Array, result: Float64Array): void {
  result.fill(0);
  const fours = n - (n % 4);
  for (let i = 0; i < fours; i += 4) {
    const p = i * n;
    const q = p + n;
    const r = q + n;
    const s = r + n;
    const xp = x[i]!;
    const xq = x[i + 1]!;
    const xr = x[i + 2]!;
    const xs = x[i + 3]!;
    for (let j = 0; j < i + 4; j++)
      result[j] = result[j]! + (a[p + j]! * xp + a[q + j]! * xq) + (a[r + j]! * xr + a[s + j]! * xs);
  }
  for (let i = fours; i < n; i++) for (let j = 0; j <= i; j++) result[j] = result[j]! + a[i * n + j]! * x[i]!;
}

/** Squared lengths of A x for a lower triangular A and four vectors, the first numbers of which come first, then the second. */
export function squaredNorms(a: Float64Array, n: number, x: Float64Array, result: Float64Array): void {
  let r0 = 0;
  let r1 = 0;
  let r2 = 0;
  let r3 = 0;
  const pairs = n - (n % 2);
  for (let i = 0; i < pairs; i += 2) {
    const p = i * n;
    const q = p + n;
    let p0 = 0;
    let p1 = 0;
    let p2 = 0;
    let p3 = 0;
    let q0 = 0;
    let q1 = 0;
    let q2 = 0;
    let q3 = 0;
    for (let j = 0, at = 0; j < i + 2; j++, at += 4) {
      const ap = a[p + j]!;
      const aq = a[q + j]!;
      const x0 = x[at]!;
      const x1 = x[at + 1]!;
      const x2 = x[at + 2]!;
      const x3 = x[at + 3]!;
      p0 += ap * x0;
      p1 += ap * x1;
      p2 += ap * x2;
      p3 += ap * x3;
      q0 += aq * x0;
      q1 += aq * x1;
      q2 += aq * x2;
      q3 += aq * x3;
    }
    r0 += p0 * p0 + q0 * q0;
    r1 += p1 * p1 + q1 * q1;
    r2 += p2 * p2 + q2 * q2;
    r3 += p3 * p3 + q3 * q3;
  }
  for (let i = pairs; i < n; i++) {
    let p0 = 0;
    let p1 = 0;
    let p2 = 0;
    let p3 = 0;
    for (let j = 0, at = 0; j <= i; j++, at += 4) {
      const ap = a[i * n + j]!;
      p0 += ap * x[at]!;
      p1 += ap * x[at + 1]!;
      p2 += ap * x[at + 2]!;
      p3 += ap * x[at + 3]!;
    }
    r0 += p0 * p0;
    r1 += p1 * p1;
    r2 += p2 * p2;
    r3 += p3 * p3;
  }
  result[0] = r0;
  result[1] = r1;
  result[2] = r2;
  result[3] = r3;
}

export interface Eigen {
  readonly values: Float64Array;
  /** Column j of this row-major matrix belongs to value j. */
  readonly vectors: Float64Array;
}

const SWEEPS_MAX = 60;

/** Eigenvalues and vectors of a symmetric matrix by cyclic Jacobi rotations: exact enough for any spectrum, for small n. */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const a = Float64Array.from(matrix);
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  for (let sweep = 0; sweep < SWEEPS_MAX; sweep++) {
    let off = 0;
    let diagonal = 0;
    for (let i = 0; i < n; i++) {
      diagonal += a[i * n + i]! ** 2;
      for (let j = 0; j < i; j++) off += a[i * n + j]! ** 2;
    }
    if (off <= 1e-30 * diagonal) break;
    for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotate(a, vectors, n, p, q);
  }
  const values = new Float64Array(n);
  for (let i = 0; i < n; i++) values[i] = a[i * n + i]!;
  return { values, vectors };
}

function rotate(a: Float64Array, vectors: Float64Array, n: number, p: number, q: number): void {
  const apq = a[p * n + q]!;
  if (apq === 0) return;
  const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let k = 0; k < n; k++) {
    const akp = a[k * n + p]!;
    const akq = a[k * n + q]!;
    a[k * n + p] = c * akp - s * akq;
    a[k * n + q] = s * akp + c * akq;
  }
  for (let k = 0; k < n; k++) {
    const apk = a[p * n + k]!;
    const aqk = a[q * n + k]!;
    a[p * n + k] = c * apk - s * aqk;
    a[q * n + k] = s * apk + c * aqk;
    const vkp = vectors[k * n + p]!;
    const vkq = vectors[k * n + q]!;
    vectors[k * n + p] = c * vkp - s * vkq;
    vectors[k * n + q] = s * vkp + c * vkq;
  }
}
