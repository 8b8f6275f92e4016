# jq -n -R -e --slurpfile schema share/events.schema.json [--arg order yes] -f tests/lib/validate.jq < lines
# Validates every line by the part of JSON Schema that events.schema.json uses, then the contract between lines:
# ready first, done last and once, indices in order, texts joined. Prints what is wrong; true when nothing is.
def kind: if type == "number" then (if . == floor then "integer" else "number" end) else type end;
def is($t): kind as $k | $k == $t or ($t == "number" and $k == "integer");
def check($s; $root; $at):
  . as $v
  | if $s["$ref"] then check($root | getpath($s["$ref"] | ltrimstr("#/") | split("/")); $root; $at) else
      (if $s.type then [$s.type] | flatten | if any(. as $t | $v | is($t)) then empty else "\($at): \($v | kind), not \(.)" end else empty end),
      (if $s | has("const") then if $v == $s.const then empty else "\($at): \($v), not \($s.const)" end else empty end),
      (if $s.enum then if $s.enum | index([$v]) then empty else "\($at): \($v) is not listed" end else empty end),
      (if $s.minimum != null and ($v | type) == "number" and $v < $s.minimum then "\($at): \($v) < \($s.minimum)" else empty end),
      (if $s.maximum != null and ($v | type) == "number" and $v > $s.maximum then "\($at): \($v) > \($s.maximum)" else empty end),
      (if $s.pattern and ($v | type) == "string" and ($v | test($s.pattern) | not) then "\($at): '\($v)' does not match" else empty end),
      (if ($v | type) == "object" then
         (($s.required // [])[] | . as $k | if $v | has($k) then empty else "\($at): no \($k)" end),
         (($s.properties // {}) | to_entries[] | . as $p | if $v | has($p.key) then ($v[$p.key] | check($p.value; $root; "\($at).\($p.key)")) else empty end)
       else empty end),
      (if ($v | type) == "array" and $s.items then ($v | to_entries[] | . as $i | $i.value | check($s.items; $root; "\($at)[\($i.key)]")) else empty end),
      (if $s.oneOf and ($v | type) == "object" then
         ($s.oneOf | map(.["$ref"] | ltrimstr("#/$defs/")) | index([$v.type]) // -1) as $i
         | if $i < 0 then "\($at): unknown type \($v.type)" else ($v | check($s.oneOf[$i]; $root; "\($at) \($v.type)")) end
       else empty end)
    end;
def between:
  (map(select(.type == "done")) | if length == 1 then empty else "\(length) done lines" end),
  (if .[-1].type == "done" then empty else "done is not last" end),
  (if any(.[]; .type == "ready") and ([.[] | select(.type != "warning")][0].type != "ready") then "ready is not first" else empty end),
  (map(select(.type == "chunk")) as $c
    | (if ($c | map(.index)) == [range($c | length)] then empty else "chunk indices \($c | map(.index))" end),
      (if .[-1].totalChunks == ($c | length) then empty else "totalChunks is not \($c | length)" end),
      (if .[-1].reason == "cancelled" then (if .[-1].full_text == "" then empty else "text after a cancel" end)
       elif ($c | map(.text) | map(select(. != "")) | join(" ")) == .[-1].full_text then empty else "full_text is not the chunks' texts" end));
[inputs | fromjson] as $lines
| [($lines[] | check($schema[0]; $schema[0]; "line")), (if $ARGS.named.order == "any" then empty else ($lines | between) end)]
| if length == 0 then true else (.[] | "\(.)"), false end
