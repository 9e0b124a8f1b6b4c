#!/bin/bash
# lint_layers.sh: arrows point one way.  cmd -> study, ensemble -> model, linalg -> comm, store, kernels -> config -> base: a file
# includes headers of its own module and of those below, never of a sibling, except that comm and store may meet.
# Kernels know neither MPI nor files; HDF5 stays where files are dealt with.
set -u
cd "$(dirname "$0")/.." || exit 1
declare -A level=([base]=0 [config]=1 [comm]=2 [store]=2 [kernels]=2 [model]=3 [linalg]=3 [study]=4 [ensemble]=4 [cmd]=5)
found=0

complain() { echo "$1"; found=1; }

# module_of PATH: src/<module>/... or include/hpsae/<module>/...
module_of() { sed -E 's,^(src|include/hpsae)/([^/]*)/.*,\2,' <<< "$1"; }

allowed() { # allowed FROM TO
    [ "$1" = "$2" ] || [ "${level[$2]}" -lt "${level[$1]}" ] || [[ "$1 $2" == "comm store" || "$1 $2" == "store comm" ]]
}

while IFS=: read -r file line text; do
    from=$(module_of "$file")
    [ -n "${level[$from]:-}" ] || { complain "$file: module $from has no layer; add it to $0"; continue; }
    case $text in
    *'"hpsae/'*)
        to=$(sed -E 's,.*"hpsae/([^/"]*)/.*,\1,' <<< "$text")
        [ -n "${level[$to]:-}" ] || { complain "$file:$line: module $to has no layer; add it to $0"; continue; }
        allowed "$from" "$to" || complain "$file:$line: $from may not include hpsae/$to"
        ;;
    *'"'*)
        name=$(sed -E 's,.*"([^"]*)".*,\1,' <<< "$text")
        [ -f "$(dirname "$file")/$name" ] || complain "$file:$line: \"$name\" is not beside it; write \"hpsae/...\""
        ;;
    *'<mpi.h>'* | *'<hdf5.h>'*)
        [ "$from" != kernels ] || complain "$file:$line: kernels know neither MPI nor files"
        ;;
    esac
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include' src include --include='*.[ch]')

calls=$(grep -rnE '\b(MPI_[A-Z][a-z]|H5[A-Z][a-z]|f(open|read|write|seek)\b *\()' src/kernels include/hpsae/kernels --include='*.[ch]')
[ -z "$calls" ] || complain "kernels know neither MPI nor files:"$'\n'"$calls"
exit $found
