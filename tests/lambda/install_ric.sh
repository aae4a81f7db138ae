#!/usr/bin/env bash
# Installs AWS Lambda's own client for Node: install_ric.sh DIRECTORY. Prints the path of what `node` runs.
#
# npm would build its native part with a libcurl from source, which takes two minutes; here the same sources are compiled
# against the system's libcurl, which takes seconds. A directory that has it already is left as it is.
set -euo pipefail

directory=$1
ric=$directory/aws-lambda-ric
entry=$ric/bin/index.mjs
if [ ! -e "$ric/dist/rapid-client.node" ]; then
    # shellcheck source=../../scripts/need.sh
    . "$(dirname "$0")/../../scripts/need.sh"
    {
        need npm npm
        need libnode-dev /usr/include/node/node_api.h
        need libcurl4-openssl-dev "/usr/include/$(cc -print-multiarch)/curl/curl.h"
        mkdir -p "$directory"
        cd "$directory"
        rm -rf aws-lambda-ric node-addon-api
        for package in aws-lambda-ric@3.3.0 node-addon-api@6.1.0; do
            archive=$(npm pack --silent "$package")
            mkdir "${package%@*}"
            tar -xzf "$archive" -C "${package%@*}" --strip-components 1
        done
        cd aws-lambda-ric
        # shellcheck source=/dev/null
        . deps/versions
        tar -xzf "deps/aws-lambda-cpp-$AWS_LAMBDA_CPP_RELEASE.tar.gz" -C deps
        runtime=deps/aws-lambda-cpp-$AWS_LAMBDA_CPP_RELEASE
        sed "s/@PROJECT_VERSION@/$AWS_LAMBDA_CPP_RELEASE/; s/@PROJECT_VERSION_[A-Z]*@/0/" \
            "$runtime/src/version.cpp.in" > "$runtime/src/version.cpp"
        g++ -std=c++17 -O1 -w -fPIC -shared -fvisibility=hidden -I /usr/include/node -I ../node-addon-api -I "$runtime/include" \
            -o dist/built src/rapid-client.cc "$runtime"/src/{runtime,logging,version}.cpp -lcurl
        # Last, so that what was interrupted begins again.
        mv dist/built dist/rapid-client.node
    } >&2
fi
echo "$entry"
