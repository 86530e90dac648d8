// node codec.js CODEC: one JSON request a line ({call, input}), one JSON answer a line.
const fs = require("fs");
const vm = require("vm");
const context = vm.createContext({});
vm.runInContext(fs.readFileSync(process.argv[2], "utf8"), context);
for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { call, input } = JSON.parse(line);
  context.input = input;
  console.log(JSON.stringify(vm.runInContext(`${call}(input)`, context)));
}
