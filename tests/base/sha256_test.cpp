#include "base/sha256.hpp"

#include <doctest/doctest.h>

using namespace tidegate;

TEST_CASE("sha256: the FIPS 180-4 examples") {
  Sha256 hash;
  CHECK(to_hex(hash.finish()) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(to_hex(hash.update("abc").finish()) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(to_hex(hash.update("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").finish()) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("sha256: fields carry their length, so a moved boundary changes the digest") {
  Sha256 hash;
  const Digest one = hash.update_field("ab").update_field("c").finish();
  const Digest two = hash.update_field("a").update_field("bc").finish();
  CHECK(one != two);
}
