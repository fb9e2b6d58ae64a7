# SPDX-License-Identifier: Apache-2.0
"""Installs the clients of versions.txt with their own package managers, below build/compat-cache, and
says how each one's program is started. Nothing is installed twice unless its versions changed."""
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(ROOT, "build", "compat-cache")
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>compat</groupId><artifactId>compat</artifactId>
<version>1</version><dependencies>%s</dependencies></project>
"""
DEPENDENCY = ("<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>"
              "</dependency>")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
GO_PROGRAMS = {"franz-go": "franz", "sarama": "sarama", "kafka-go": "segmentio"}
PYTHON_PROGRAMS = {"confluent": "confluent.py", "kafka-python": "kafka_python.py",
                   "aiokafka": "aio.py"}


def pins(client=None):
    """(client, manager, package, version), of one client or of all."""
    found = []
    with open(os.path.join(HERE, "versions.txt")) as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                words = tuple(line.split())
                if client in (None, words[0]):
                    found.append(words)
    if not found:
        sys.exit(f"there is no client {client} in versions.txt")
    return found


def clients():
    """Those of the table; what suites need has lines of its own."""
    return [c for c in dict.fromkeys(pin[0] for pin in pins()) if not c.endswith("-suite")]


def version(client):
    return pins(client)[0][3]


def place(client):
    return os.path.join(CACHE, client)


def call(*command, cwd):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")


def unpack(where, pattern):
    """Archives without their own top folder, below src/."""
    source = os.path.join(where, "src")
    os.makedirs(source, exist_ok=True)
    for archive in glob.glob(os.path.join(where, pattern)):
        call("tar", "xf", archive, "-C", source, "--strip-components=1", cwd=where)


def install_maven(where, wanted):
    dependencies = [DEPENDENCY % (*package.split(":"), number) for _, _, package, number in wanted]
    with open(os.path.join(where, "pom.xml"), "w") as file:
        file.write(POM % "".join(dependencies))
    call("mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars", cwd=where)


def install_pip(where, wanted):
    call(sys.executable, "-m", "venv", "venv", cwd=where)
    packages = [f"{package}=={number}" for _, _, package, number in wanted]
    call("venv/bin/pip", "install", "-q", *packages, cwd=where)


def install_sdist(where, wanted):
    """The sources, below src/."""
    for _, _, package, number in wanted:
        call(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", package,
             f"{package}=={number}", "-d", "sdist", cwd=where)
    unpack(where, "sdist/*.tar.gz")


def install_debian(where, wanted):
    """Debian's source packages, below src/: with lists of its own apt-get needs neither root nor
    deb-src lines, and checks signatures."""
    apt = os.path.join(where, "apt")
    os.makedirs(os.path.join(apt, "lists", "partial"))
    os.makedirs(os.path.join(apt, "cache", "archives", "partial"))
    with open(os.path.join(apt, "sources.list"), "w") as file:
        file.write(f"deb-src [signed-by={KEYRING}] http://deb.debian.org/debian bookworm main\n")
    options = [word for setting in (
        f"Dir::Etc::sourcelist={apt}/sources.list", "Dir::Etc::sourceparts=-", f"Dir::State::lists={apt}/lists",
        f"Dir::Cache={apt}/cache", "APT::Sandbox::User=") for word in ("-o", setting)]
    call("apt-get", *options, "-q", "update", cwd=where)
    for _, _, package, number in wanted:
        call("apt-get", *options, "-q", "source", "--download-only", "--tar-only", f"{package}={number}", cwd=where)
    unpack(where, "*.orig.tar.*")


def install_npm(where, wanted):
    with open(os.path.join(where, "package.json"), "w") as file:
        file.write('{"private": true}\n')
    call("npm", "install", *[f"{package}@{number}" for _, _, package, number in wanted], cwd=where)


def install_npm_source(where, wanted):
    """Packages as they are in the registry, nothing run or compiled, below src/."""
    for _, _, package, number in wanted:
        call("npm", "pack", "--silent", f"{package}@{number}", cwd=where)
    unpack(where, "*.tgz")


def install_go(where, wanted):
    with open(os.path.join(where, "go.mod"), "w") as file:
        file.write("module compat\n")
    call("go", "get", *[f"{package}@{number}" for _, _, package, number in wanted], cwd=where)


MANAGERS = {"maven": install_maven, "pip": install_pip, "sdist": install_sdist,
            "debian": install_debian, "npm": install_npm, "npm-source": install_npm_source,
            "go": install_go}


def compile_go(client):
    """Programs are compiled each time: the compiler knows best whether anything changed."""
    where = place(client)
    for part in ("cases", GO_PROGRAMS[client]):
        shutil.copytree(os.path.join(HERE, "go", part), os.path.join(where, part), dirs_exist_ok=True)
    call("go", "mod", "tidy", cwd=where)
    call("go", "build", "-o", "program", "./" + GO_PROGRAMS[client], cwd=where)


def install(client):
    wanted = pins(client)
    where = place(client)
    mark = os.path.join(where, "installed")
    text = "\n".join(" ".join(pin) for pin in wanted)
    if not os.path.exists(mark) or open(mark).read() != text:
        print(f"installing {client} {version(client)}", flush=True)
        shutil.rmtree(where, ignore_errors=True)
        os.makedirs(where)
        for manager in dict.fromkeys(pin[1] for pin in wanted):
            MANAGERS[manager](where, [pin for pin in wanted if pin[1] == manager])
        with open(mark, "w") as file:
            file.write(text)
    if client in GO_PROGRAMS:
        compile_go(client)


def command(client):
    """The command line, to be followed by the broker's address, and its environment."""
    where = place(client)
    environment = dict(os.environ)
    if client in GO_PROGRAMS:
        return [os.path.join(where, "program")], environment
    if client in PYTHON_PROGRAMS:
        return [os.path.join(where, "venv", "bin", "python"),
                os.path.join(HERE, "python", PYTHON_PROGRAMS[client])], environment
    jars = ":".join(sorted(glob.glob(os.path.join(where, "jars", "*.jar"))))
    if client == "java":
        return ["java", "-cp", jars, os.path.join(HERE, "java", "Compat.java")], environment
    if client == "java-tools":
        environment["CLASSPATH"] = jars
        return [sys.executable, os.path.join(HERE, "java", "tools.py")], environment
    environment["NODE_PATH"] = os.path.join(where, "node_modules")
    return ["node", os.path.join(HERE, "js", client + ".js")], environment
