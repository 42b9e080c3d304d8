// What the threads of the pools run: a trivial function.
export default () => "ok";
