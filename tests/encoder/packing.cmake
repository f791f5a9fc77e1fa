# Tests of packing and quantizing, which need no network.
tidegate_add_test(packing
  SOURCES model_packer_test.cpp packed_file_test.cpp quantizer_test.cpp
  LINK tidegate_packing tidegate_encoder_kernels tidegate_encoder_model tidegate_random_model fmt::fmt
       nlohmann_json::nlohmann_json)
