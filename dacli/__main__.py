from dacli.cli import main

main()
