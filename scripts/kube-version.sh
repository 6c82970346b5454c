#!/bin/sh
# kube-version.sh VERSION: prints the linker's flags by which Kubernetes'
# programs know that they are of VERSION (v1.36.3). Without them they say
# v0.0.0-master, which clients cannot read.
set -eu

version=$1
number=${version#v}
major=${number%%.*}
rest=${number#*.}
minor=${rest%%.*}
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	printf -- '-X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s ' \
		"$package" "$version" "$package" "$major" "$package" "$minor"
done
