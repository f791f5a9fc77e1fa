module tidegate.example/embed

go 1.19
