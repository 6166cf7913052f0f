"""Reads sudoers(5): the digests with which rules allow a program, also through aliases and over several lines."""

from __future__ import annotations

# A digest may have the colon and the equals sign that separate what is around it, so it is read first. Digests before a
# command are alternatives. An alias counts only if a rule uses it.
DIGESTS = """\
digests() {
  for file in /etc/sudoers /etc/sudoers.d/*; do
    case ${file##*/} in sudoers.d|*.*|*~) ;; *) cat "$file"; echo;; esac
  done 2>/dev/null | awk -v program="$1" '
    function items(text,   many, part, i, count, word, j, first, before, found) {
      many = split(text, part, /[,:=]/)
      for (i = 1; i <= many; i++) {
        count = split(part[i], word, " ")
        first = ""
        for (j = 1; j <= count && first == ""; j++)
          if (word[j] ~ /^sha256@/) before = before " " substr(word[j], 8)
          else if (word[j] !~ /^sha[0-9]+@/) first = word[j]
        if (first == "") continue
        if (first == program) found = found before
        else if (first ~ /^[A-Z][A-Z0-9_]*$/) found = found " @" first
        before = ""
      }
      return found
    }
    function show(list, depth,   many, word, i) {
      many = split(list, word, " ")
      for (i = 1; i <= many; i++)
        if (substr(word[i], 1, 1) != "@") { gsub("-", "=", word[i]); print word[i] }
        else if (depth < 9) show(alias[substr(word[i], 2)], depth + 1)
    }
    /\\\\$/ { held = held substr($0, 1, length($0) - 1) " "; next }
    {
      line = held $0; held = ""
      sub(/(^|[ \\t])#([^0-9].*)?$/, "", line)
      for (plain = ""; match(line, /sha[0-9]+:[A-Za-z0-9+\\/]+=*/); line = substr(line, RSTART + RLENGTH)) {
        digest = substr(line, RSTART, RLENGTH)
        sub(":", "@", digest); gsub("=", "-", digest)
        plain = plain substr(line, 1, RSTART - 1) digest
      }
      line = plain line
      gsub("\\t", " ", line)
      if (line ~ /^ *(Defaults|User_Alias|Runas_Alias|Host_Alias|[@#]include)/) next
      if (sub(/^ *(Cmnd|Cmd)_Alias /, "", line)) {
        many = split(line, definition, ":")
        for (i = 1; i <= many; i++) {
          name = definition[i]; sub(/=.*/, "", name); gsub(" ", "", name)
          sub(/^[^=]*=/, "", definition[i]); alias[name] = items(definition[i])
        }
      } else rules = rules items(line)
    }
    END { show(rules, 0) }'
}
"""
"""A shell function that prints the digests of the program ``$1``, as they are written."""
