// msgpackr ships no declaration for its build without `new Function`; the API is that of the main entry.
declare module "msgpackr/index-no-eval" {
  export { Packr, Unpackr } from "msgpackr";
}
