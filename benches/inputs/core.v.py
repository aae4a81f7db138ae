"""A small processor with caches of registers in Verilog: for yosys, iverilog and verilator."""
LANES = 1
print("module core(input clk, input rst, input [31:0] in, output reg [31:0] out);")
for lane in range(LANES):
    print(f"wire [31:0] r{lane}; lane #(.SALT(32'd{lane * 2654435761 % 2**32})) l{lane}(clk, rst, in ^ {'32' if not lane else ''}{chr(39) + 'd7' if not lane else f'r{lane - 1}'}, r{lane});")
print("always @(posedge clk) if (rst) out <= 0; else out <= " + " ^ ".join(f"r{lane}" for lane in range(LANES)) + ";\nendmodule")
print("""module lane #(parameter SALT = 1) (input clk, input rst, input [31:0] in, output reg [31:0] acc);
reg [31:0] file [0:7]; reg [2:0] at; reg [3:0] op; reg [31:0] a, b; reg [31:0] y; integer i;
always @* begin a = file[at]; b = in + SALT;
case (op)
0: y = a + b; 1: y = a - b; 2: y = a & b; 3: y = a | b; 4: y = a ^ b; 5: y = a << b[4:0]; 6: y = a >> b[4:0];
7: y = $signed(a) >>> b[4:0]; 8: y = {31'd0, a < b}; 9: y = a * b[3:0]; 10: y = {a[15:0], b[31:16]}; 11: y = ~a; default: y = b;
endcase end
always @(posedge clk) if (rst) begin at <= 0; op <= 0; acc <= 0; for (i = 0; i < 8; i = i + 1) file[i] <= i; end
else begin file[b[2:0]] <= y; acc <= acc + y; at <= at + 1; op <= y[3:0]; end
endmodule""")
